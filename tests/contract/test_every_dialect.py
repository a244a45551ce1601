"""The behaviour that all dialects share, each whole and streamed: one row for each way to ask.

The gateway is the real one; the test plays its only worker, which has one slot. What these rows
take for granted of real workers is shown for the same ways in ``tests/e2e/test_hang_up.py`` and
``tests/chaos/test_kill.py``.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from gateway.config.api_keys import digest
from gateway.core.api_key import ApiKey
from gateway.core.cache_scope import cache_scope
from tests.support.dialects import WAYS, Failure, Way
from tests.support.played_front import KEYS, Front, until

pytestmark = pytest.mark.anyio

FREE = ApiKey("app", digest("sk-app"))
BATCH = {"Authorization": "Bearer sk-batch"}


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


@pytest.fixture
async def played() -> AsyncIterator[Front]:
    """A gateway with two keys, of which the first has no limits."""
    async with serving(Front([FREE, *KEYS[1:]], max_queue=2)) as front:
        yield front


@asynccontextmanager
async def serving(front: Front) -> AsyncIterator[Front]:
    """A front from its start to its end, at which nothing may be left."""
    await front.gateway.start()
    try:
        yield front
    finally:
        await front.client.aclose()
        await front.gateway.stop()
    assert front.pool.leaks() == []


Asking = asyncio.Task[httpx.Response]


def ask(front: Front, way: Way, headers: dict[str, str] | None = None, **params: Any) -> Asking:
    post = front.client.post(way.path, json=way.body(**params), headers=headers)
    return asyncio.create_task(post)


async def refused(way: Way, asking: Asking) -> tuple[Failure, httpx.Headers]:
    """The error of a request, which comes with a status of its own: nothing was streamed yet."""
    response = await asking
    assert response.status_code != 200
    return way.dialect.refusal(response), response.headers


def answer(front: Front, id_: int, tokens: int = 2, reason: str = "stop") -> None:
    """Play a generation from its slot to its end."""
    front.pool.begin(id_)
    for _ in range(tokens - 1):
        front.pool.progress(id_)
    front.pool.finish(id_, reason)


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


# ------------------------------------------------------------------ deadlines


def expire(front: Front, id_: int) -> None:
    """Let a request's time pass."""
    dispatcher = front.gateway.dispatcher
    dispatcher.deadlines.expire(dispatcher._tickets[id_])


@pytest.mark.parametrize(
    ("params", "headers"), [({"timeout": 50}, {}), ({}, {"X-Request-Timeout": "50"})]
)
async def test_a_deadline_in_the_queue(
    played: Front, way: Way, params: dict[str, Any], headers: dict[str, str]
) -> None:
    first = ask(played, way)
    running = await played.running()
    late = ask(played, way, headers, **params)
    await until(lambda: played.gateway.dispatcher.stats.depth() == 1)
    assert played.gateway.dispatcher._tickets[running + 1].job.timeout == 50
    expire(played, running + 1)
    failure, _ = await refused(way, late)
    assert (failure.status, failure.code) == (504, "deadline_exceeded")
    answer(played, running)
    assert (await first).status_code == 200
    found = await played.scraped()
    assert found["forge_requests_total", "normal", "expired"] == 1
    assert found["forge_requests_total", "normal", "finished"] == 1


async def test_a_deadline_while_it_generates(played: Front, way: Way) -> None:
    """A stream keeps the text that it has told, and ends with the error."""
    asking = ask(played, way, timeout=50)
    id_ = await played.running()
    played.pool.begin(id_)
    played.pool.progress(id_, 2)
    expire(played, id_)
    assert played.pool.cancelled == [id_]
    played.pool.finish(id_, "cancelled")
    response = await asking
    told = way.dialect.told(response)
    assert response.status_code == (200 if way.stream else 504)
    assert told.text == ("xx" if way.stream else "")
    assert told.failure is not None
    assert told.failure.message == "the request's time ran out while it was generated"
    names = way.dialect.streamed_codes if way.stream else {}
    assert told.failure.code == names.get("deadline_exceeded", "deadline_exceeded")
    assert (await played.scraped())["forge_requests_total", "normal", "expired"] == 1


# ------------------------------------------------------------------ hang-up


async def test_a_hang_up_in_the_queue(played: Front, way: Way) -> None:
    first = ask(played, way)
    running = await played.running()
    gone = played.connect(way.path, way.body())
    await until(lambda: played.gateway.dispatcher.stats.depth() == 1)
    await gone.hang_up()
    assert played.gateway.dispatcher.stats.depth() == 0
    answer(played, running)
    assert (await first).status_code == 200
    assert len(played.pool.submitted) == 1
    assert (await played.scraped())["forge_requests_total", "normal", "cancelled"] == 1


async def test_a_hang_up_while_it_generates(played: Front, way: Way) -> None:
    gone = played.connect(way.path, way.body())
    id_ = await played.running()
    played.pool.begin(id_)
    played.pool.progress(id_)
    if way.stream:
        await until(lambda: len(gone.sent) > 1)
    await gone.hang_up()
    assert played.pool.cancelled == [id_]
    played.pool.finish(id_, "cancelled")
    assert (await played.scraped())["forge_requests_total", "normal", "cancelled"] == 1


# ------------------------------------------------------------------ 429


async def test_a_full_queue(played: Front, way: Way) -> None:
    """Refused at once, whatever the dialect, and with the time to come back."""
    accepted = [ask(played, way)]
    await played.running()
    for depth in (1, 2):
        accepted.append(ask(played, way))
        await until(lambda depth=depth: played.gateway.dispatcher.stats.depth() == depth)  # type: ignore[misc]
    failure, headers = await refused(way, ask(played, way))
    assert (failure.status, failure.code) == (429, "queue_full")
    assert int(headers["retry-after"]) >= 1
    # The more urgent takes the place of the last one, which learns of it.
    urgent = ask(played, way, priority="urgent")
    failure, headers = await refused(way, accepted.pop())
    assert (failure.status, failure.code) == (429, "displaced")
    assert int(headers["retry-after"]) >= 1
    for _ in range(3):
        answer(played, await played.running())
    assert [(await each).status_code for each in (*accepted, urgent)] == [200] * 3
    found = await played.scraped()
    assert found["forge_requests_total", "normal", "rejected"] == 2


async def test_the_limit_of_a_key(way: Way) -> None:
    async with serving(Front()) as front:
        for _ in range(2):
            asking = ask(front, way)
            answer(front, await front.running())
            assert (await asking).headers["x-ratelimit-limit-requests"] == "2"
        failure, headers = await refused(way, ask(front, way))
        assert (failure.status, failure.code) == (429, "rate_limit_exceeded")
        assert int(headers["retry-after"]) >= 1
        assert headers["x-ratelimit-remaining-requests"] == "0"


async def test_a_drain(played: Front, way: Way) -> None:
    played.gateway.dispatcher.drain()
    failure, headers = await refused(way, ask(played, way))
    assert (failure.status, failure.code) == (503, "unavailable")
    assert int(headers["retry-after"]) >= 1


# ------------------------------------------------------------------ failover


async def test_a_worker_dies_in_mid_stream(played: Front, way: Way) -> None:
    """Another goes on after the tokens that were told: the text is whole, nothing comes twice."""
    asking = ask(played, way, cache_salt="a")
    id_ = await played.running()
    for attempt in (1, 2, 3):
        played.pool.begin(id_)
        played.pool.progress(id_, 2)
        if attempt < 3:
            played.pool.die(0)
            assert await played.running() == id_
    played.pool.finish(id_)
    told = way.dialect.told(await asking)
    assert (told.text, told.reason, told.failure) == ("x" * 7, "stop", None)
    assert [len(request.resume) for request in played.pool.submitted] == [0, 2, 4]
    assert [request.attempt for request in played.pool.submitted] == [1, 2, 3]
    scope = cache_scope(FREE, "a")
    assert {request.cache_scope for request in played.pool.submitted} == {scope}


async def test_a_worker_that_can_not_compute_it(played: Front, way: Way) -> None:
    asking = ask(played, way)
    id_ = await played.running()
    played.pool.begin(id_)
    played.pool.progress(id_)
    played.pool.fail(id_)
    told = way.dialect.told(await asking)
    assert told.failure is not None
    assert told.text == ("x" if way.stream else "")
    assert (await played.scraped())["forge_requests_total", "normal", "failed"] == 1


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
