"""The behaviour that all dialects share, each whole and streamed: one row for each way to ask.

The gateway is the real one; the test plays its only worker, which has one slot. What these rows
take for granted of real workers is shown for the same ways in ``tests/e2e/test_hang_up.py`` and
``tests/chaos/test_kill.py``.
"""

from typing import Any

import pytest

from gateway.core.cache_scope import cache_scope
from tests.support.dialects import Way
from tests.support.played_front import KEYS, Front, until
from tests.support.ways import BATCH, FREE, answer, ask, refused, serving

pytestmark = pytest.mark.anyio


# ------------------------------------------------------------------ answers


@pytest.mark.parametrize("reason", ["stop", "length"])
async def test_an_answer(played: Front, way: Way, reason: str) -> None:
    asking = ask(played, way)
    answer(played, await played.running(), 3, reason)
    told = way.dialect.told(await asking)
    assert (told.text, told.reason, told.failure) == ("xxx", reason, None)


async def test_it_is_counted_once(played: Front, way: Way) -> None:
    asking = ask(played, way)
    answer(played, await played.running(), 3)
    assert (await asking).status_code == 200
    found = await played.scraped()
    ended = {key: n for key, n in found.items() if key[0] == "forge_requests_total" and n}
    assert ended == {("forge_requests_total", "normal", "finished"): 1}
    assert found["forge_prompt_tokens_total", "", ""] == 7
    assert found["forge_prefix_cache_hit_tokens_total", "", ""] == 3
    assert found["forge_generation_tokens_total", "", ""] == 3
    assert found["forge_time_to_first_token_seconds_count", "normal", ""] == 1
    assert found["forge_requests_running", "", ""] == found["forge_requests_waiting", "", ""] == 0
    assert not [key for key, n in found.items() if key[0] == "forge_error_responses_total" and n]


# ------------------------------------------------------------------ priority


@pytest.mark.parametrize(
    ("params", "headers", "priority"),
    [
        ({}, {}, 1.0),
        ({"priority": "urgent"}, {"X-Priority": "batch"}, 2.0),
        ({"priority": 0}, {}, 0.0),
        ({}, {"X-Priority": "1.5"}, 1.5),
    ],
)
async def test_a_priority(
    played: Front, way: Way, params: dict[str, Any], headers: dict[str, str], priority: float
) -> None:
    asking = ask(played, way, headers, **params)
    id_ = await played.running()
    assert played.pool.submitted[-1].priority == priority
    answer(played, id_)
    assert float((await asking).headers["x-priority"]) == priority


async def test_the_more_urgent_is_served_first(played: Front, way: Way) -> None:
    first = ask(played, way)
    id_ = await played.running()
    others = [ask(played, way, priority=priority) for priority in ("batch", "urgent")]
    await until(lambda: played.gateway.dispatcher.stats.depth() == 2)
    while True:
        answer(played, id_)
        if len(played.pool.submitted) == 3 and not played.pool.running():
            break
        id_ = await played.running()
    assert [request.priority for request in played.pool.submitted] == [1.0, 2.0, 0.0]
    assert [(await each).status_code for each in (first, *others)] == [200] * 3


RULES = {"x-claude-code-agent-id: *": "batch", "User-Agent: *agent*": "urgent"}


@pytest.mark.parametrize(
    ("params", "headers", "priority"),
    [
        ({}, {}, 1.0),
        ({}, {"User-Agent": "My-Agent/1"}, 2.0),
        ({}, {"User-Agent": "My-Agent/1", "X-Claude-Code-Agent-Id": "a1"}, 0.0),
        ({"priority": "normal"}, {"X-Claude-Code-Agent-Id": "a1"}, 1.0),
        ({}, {"X-Priority": "1.5", "X-Claude-Code-Agent-Id": "a1"}, 1.5),
    ],
)
async def test_a_priority_by_headers(
    way: Way, params: dict[str, Any], headers: dict[str, str], priority: float
) -> None:
    """The operator's table, where the request says nothing itself."""
    async with serving(Front([FREE], header_priority=RULES)) as front:
        asking = ask(front, way, headers, **params)
        id_ = await front.running()
        assert front.pool.submitted[-1].priority == priority
        answer(front, id_)
        assert float((await asking).headers["x-priority"]) == priority


async def test_a_priority_by_headers_is_never_above_the_keys(way: Way) -> None:
    async with serving(Front([FREE, *KEYS[1:]], header_priority=RULES)) as front:
        asking = ask(front, way, {**BATCH, "User-Agent": "agent"})
        id_ = await front.running()
        assert front.pool.submitted[-1].priority == 0.0
        answer(front, id_)
        assert (await asking).status_code == 200


# ------------------------------------------------------------------ defaults


USUAL = {"temperature": 0.25, "top_k": 7, "repeat_penalty": 1.5, "seed": 5, "stop": ["zz"]}


@pytest.mark.parametrize("said", [{}, {"seed": 6}])
async def test_the_operators_defaults(way: Way, said: dict[str, Any]) -> None:
    """They come before those of the dialect, and after what the request says."""
    async with serving(Front([FREE], sampling=USUAL)) as front:
        asking = ask(front, way, temperature=None, top_k=None, **said)
        id_ = await front.running()
        params = front.pool.submitted[-1].params
        sampling = params.sampling
        found = (sampling.temperature, sampling.top_k, sampling.repeat_penalty, sampling.seed)
        assert found == (0.25, 7, 1.5, said.get("seed", 5))
        assert params.stop == ("zz",)
        answer(front, id_)
        assert (await asking).status_code == 200


# ------------------------------------------------------------------ sessions


async def test_a_conversation_has_a_name_within_its_key(played: Front, way: Way) -> None:
    """The pool learns of it from headers and from the body; another key's is never the same."""
    named = {"X-Claude-Code-Session-Id": "0e8d"}
    cases: list[tuple[dict[str, str], dict[str, Any]]] = [
        ({}, {}),
        (named, {}),
        ({"session-id": "0e8d"}, {}),
        ({}, {"prompt_cache_key": "0e8d"}),
        ({**named, **BATCH}, {}),
        (named, {"cache_salt": "a"}),
        ({**named, "X-Claude-Code-Agent-Id": "a1"}, {}),
    ]
    for headers, params in cases:
        asking = ask(played, way, headers, **params)
        answer(played, await played.running())
        assert (await asking).status_code == 200
    none, *same, batch, salted, helper = played.pool.sessions
    assert none == ""
    assert len(set(same)) == 1
    assert len({none, same[0], batch, salted, helper}) == 5


# ------------------------------------------------------------------ keys


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer sk-nobody"}, {"X-API-Key": "sk-nobody"}],
)
async def test_a_stranger(played: Front, way: Way, headers: dict[str, str]) -> None:
    given = {"Authorization": "", **headers}
    failure, found = await refused(way, ask(played, way, given))
    assert (failure.status, failure.code) == (401, "invalid_api_key")
    assert found["www-authenticate"] == "Bearer"


async def test_a_key_is_the_owner(played: Front, way: Way) -> None:
    for headers, key in (({}, FREE), (BATCH, KEYS[1])):
        asking = ask(played, way, headers)
        id_ = await played.running()
        job = played.gateway.dispatcher._running[id_].job
        assert (job.owner, job.cache_scope) == (key.name, cache_scope(key))
        assert job.priority == min(1.0, key.max_priority)
        answer(played, id_)
        assert (await asking).status_code == 200


async def test_a_key_has_a_highest_priority(played: Front, way: Way) -> None:
    for params, more in (({"priority": 1}, {}), ({}, {"X-Priority": "normal"})):
        failure, _ = await refused(way, ask(played, way, {**BATCH, **more}, **params))
        assert (failure.status, failure.code) == (403, "priority_not_allowed")
    assert played.pool.submitted == []
