"""Lines of batches: answered as a client's request is, by the same endpoints, in the key's name."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import ANY

import pytest

from gateway.api.line_caller import PATHS, LineAnswer, LineCaller
from gateway.core.api_key import ANYONE, ApiKey
from gateway.dispatch.job import Job
from tests.support.dialects import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Dialect
from tests.support.played_front import KEYS, Front, until
from workers.protocol import Generate

pytestmark = pytest.mark.anyio

APP, BATCH = KEYS
LINES: list[Dialect] = [CHAT, COMPLETIONS, RESPONSES, MESSAGES]
SAME = {"X-Request-Id", "X-Priority", "X-Seed", "Content-Type", "Content-Length"}


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    front = Front(max_body=4096)
    await front.gateway.start()
    yield front
    await front.client.aclose()
    assert front.gateway.dispatcher.stats.leaks() == []
    await front.gateway.stop()


def call(
    front: Front, dialect: Dialect, key: ApiKey = APP, *, priority: float = 0.0, **params: Any
) -> "asyncio.Task[LineAnswer]":
    """A line that is in flight."""
    calling = front.gateway.front.lines.call(
        key, dialect.path, dialect.body(**params), priority, True
    )
    return asyncio.create_task(calling)


async def finish(front: Front) -> Job:
    """Let the only generation bring seven tokens and two; the job that it is of."""
    id_ = await front.running()
    job = front.gateway.dispatcher._running[id_].job
    front.pool.begin(id_)
    front.pool.progress(id_)
    front.pool.finish(id_)
    return job


def steady(value: Any) -> Any:
    """An answer without its names and times."""
    if isinstance(value, dict):
        names = {"id", "created", "created_at", "completed_at", "timings", "store"}
        return {name: steady(each) for name, each in value.items() if name not in names}
    return [steady(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("dialect", LINES, ids=str)
async def test_a_line_gets_the_answer_of_a_client(front: Front, dialect: Dialect) -> None:
    _, client = await front.ask(dialect, seed=5)
    line = call(front, dialect, seed=5)
    await finish(front)
    answer = await line
    assert (answer.status, steady(answer.body)) == (200, steady(client.json()))
    assert {name.lower() for name in SAME} <= answer.headers.keys()
    for name in ("x-seed", "content-type", "x-ratelimit-limit-requests"):
        assert answer.headers[name] == client.headers[name]


async def test_vectors_have_an_endpoint_too(front: Front) -> None:
    body = {"input": [], "model": "forge-tiny"}
    answer = await front.gateway.front.lines.call(APP, "/v1/embeddings", body, 0.0, True)
    client = await front.client.post("/v1/embeddings", json=body)
    assert (answer.status, answer.body) == (client.status_code, client.json())
    assert answer.body["error"]["param"] == "input"


@pytest.mark.parametrize("dialect", LINES, ids=str)
async def test_the_job_is_spare_and_its_keys(front: Front, dialect: Dialect) -> None:
    line = call(front, dialect, priority=-2.5)
    job = await finish(front)
    assert (await line).headers["x-priority"] == "-2.5"
    assert (job.spare, job.owner, job.weight, job.priority) == (True, "app", 3.0, -2.5)


@pytest.mark.parametrize("dialect", LINES, ids=str)
async def test_no_client_can_ask_for_a_spare_job(front: Front, dialect: Dialect) -> None:
    job, _ = await front.ask(dialect, {"X-Spare": "true"})
    assert not job.spare


async def test_a_body_may_say_its_priority_as_far_as_the_key_goes(front: Front) -> None:
    line = call(front, CHAT, BATCH, priority=5.0)
    assert (await finish(front)).priority == 0.0  # the batch's is what the key allows
    assert (await line).status == 200
    body = CHAT.body() | {"priority": "urgent"}
    answer = await front.gateway.front.lines.call(BATCH, CHAT.path, body, 0.0, True)
    assert (answer.status, answer.body["error"]["code"]) == (403, "priority_not_allowed")
    assert answer.body["error"]["param"] == "priority"
    body["priority"] = -1
    line = asyncio.create_task(front.gateway.front.lines.call(BATCH, CHAT.path, body, 0.0, True))
    assert (await finish(front)).priority == -1.0
    assert (await line).status == 200


async def test_the_limits_of_the_key_hold(front: Front) -> None:
    for _ in range(2):
        line = call(front, CHAT)
        await finish(front)
        assert (await line).status == 200
    answer = await call(front, CHAT)
    assert (answer.status, answer.body["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_model_that_the_key_may_not_use_is_not_there(front: Front) -> None:
    key = ApiKey("app", b"", models=("other",))
    answer = await call(front, CHAT, key)
    assert (answer.status, answer.body["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("dialect", LINES, ids=str)
async def test_a_line_that_is_cancelled_computes_no_more(front: Front, dialect: Dialect) -> None:
    line = call(front, dialect)
    id_ = await front.running()
    front.pool.begin(id_)
    line.cancel()
    with pytest.raises(asyncio.CancelledError):
        await line
    assert front.pool.cancelled == [id_]
    front.pool.finish(id_, "cancelled")


async def test_a_line_has_its_metrics_and_its_line_of_log(
    front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "forge.requests"):
        line = call(front, CHAT)
        await finish(front)
        name = (await line).request_id
        refused = await call(front, CHAT, temperature="hot")
    assert refused.status == 400
    records = [record for record in caplog.records if record.name == "forge.requests"]
    assert [record.message for record in records] == ["finished"]
    assert records[0].fields["id"] == name  # type: ignore[attr-defined]
    found = await front.scraped()
    assert found["forge_requests_total", "batch", "finished"] == 1
    assert found["forge_error_responses_total", "", "invalid_request"] == 1


async def test_the_caller_may_name_the_request(front: Front) -> None:
    body, lines = CHAT.body(), front.gateway.front.lines
    line = asyncio.create_task(lines.call(APP, CHAT.path, body, 0.0, True, "0123abc"))
    await finish(front)
    answer = await line
    assert (answer.request_id, answer.body["id"]) == ("0123abc", "chatcmpl-0123abc")
    refused = await lines.call(APP, CHAT.path, body | {"n": 0}, 0.0, True, "0124abc")
    assert (refused.status, refused.request_id) == (400, "0124abc")


async def test_a_line_in_flight_is_raised(front: Front) -> None:
    """To what its key allows, and not below what it asked for itself."""
    lines, dispatcher = front.gateway.front.lines, front.gateway.dispatcher
    running = call(front, CHAT, BATCH)
    await front.running()
    named = [("plain", APP, {}, 1.0), ("kept", BATCH, {}, 0.0), ("own", APP, {"priority": 2}, 2.0)]
    waiting = [
        asyncio.create_task(lines.call(key, CHAT.path, CHAT.body() | more, -1.0, True, name))
        for name, key, more, _ in named
    ]
    await until(lambda: dispatcher.stats.spare_depth() == 3)
    lines.raise_priority("another", 1.0)
    for name, *_ in named:
        lines.raise_priority(name, 1.0)
    found = {dispatcher.stats.request_id(each): each for each in dispatcher.stats.waiting()}
    for name, _, _, priority in named:
        assert (found[name].job.spare, found[name].priority) == (False, priority)
    for task in (running, *waiting):
        task.cancel()
    await asyncio.gather(running, *waiting, return_exceptions=True)
    (id_,) = front.pool.running()
    front.pool.finish(id_, "cancelled")
    assert lines._open == {}


async def test_the_queue_tells_which_are_spare(front: Front) -> None:
    running = call(front, CHAT)
    await front.running()
    waiting = asyncio.create_task(
        front.gateway.front.lines.call(BATCH, CHAT.path, CHAT.body(), 0.0, True, "line")
    )
    await until(lambda: front.gateway.dispatcher.stats.depth() == 1)
    item = (await front.client.get("/queue/line")).json()
    assert (item["spare"], item["position"], item["estimated_wait_s"]) == (True, 1, None)
    assert item["effective_priority"] == item["priority"] == 0.0
    queue = (await front.client.get("/queue")).json()
    assert (queue["depth"], queue["waiting"]) == (1, [item | {"waited_s": ANY}])
    for task in (running, waiting):
        task.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    (id_,) = front.pool.running()
    front.pool.finish(id_, "cancelled")


@pytest.mark.parametrize("path", ["/metrics", "/v1/models", "/v1/batches", "/api/pull", "/infer"])
async def test_a_line_reaches_no_other_endpoint(front: Front, path: str) -> None:
    assert path not in PATHS
    answer = await front.gateway.front.lines.call(APP, path, {}, 0.0, True)
    assert answer.status == 404
    assert front.pool.submitted == []


@pytest.mark.parametrize("dialect", LINES, ids=str)
async def test_a_line_has_one_whole_answer(front: Front, dialect: Dialect) -> None:
    answer = await call(front, dialect, stream=True)
    assert answer.status == 400
    assert "one whole answer" in answer.body["error"]["message"]
    body = RESPONSES.body() | {"background": True}
    answer = await front.gateway.front.lines.call(APP, RESPONSES.path, body, 0.0, True)
    assert answer.body["error"]["param"] == "background"


async def test_a_response_is_stored_only_if_its_line_says_so(front: Front) -> None:
    for params, found in (({}, 404), ({"store": None}, 404), ({"store": True}, 200)):
        body = RESPONSES.body() | params
        calling = front.gateway.front.lines.call(BATCH, RESPONSES.path, body, 0.0, True)
        line = asyncio.create_task(calling)
        await finish(front)
        path = f"/v1/responses/{(await line).body['id']}"
        client = await front.client.get(path, headers={"Authorization": "Bearer sk-batch"})
        assert client.status_code == found


async def test_a_body_too_large_is_refused_as_a_clients(front: Front) -> None:
    body = CHAT.body() | {"user": "x" * 5000}
    answer = await front.gateway.front.lines.call(APP, CHAT.path, body, 0.0, True)
    assert (answer.status, answer.body["error"]["code"]) == (413, "body_too_large")


async def test_a_body_nested_too_deeply_is_refused(front: Front) -> None:
    deep = json.loads("[" * 900 + "]" * 900)
    body = CHAT.body() | {"metadata": deep}
    answer = await front.gateway.front.lines.call(APP, CHAT.path, body, 0.0, True)
    assert (answer.status, answer.body["error"]["code"]) == (400, "invalid_request")


async def test_an_answer_too_large_is_not_kept(front: Front) -> None:
    lines = front.gateway.front.lines
    small = LineCaller(lines._app, lines._respond, lines._promote, most_answer=200)
    line = asyncio.create_task(small.call(APP, CHAT.path, CHAT.body(), 0.0, True))
    await finish(front)
    answer = await line
    assert answer.status == 400
    assert "200 at most" in answer.body["error"]["message"]
    assert answer.request_id


async def test_a_bug_is_an_answer_too(
    front: Front, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(request: Generate, session: str = "") -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(front.gateway.dispatcher, "submit", broken)
    answer = await call(front, CHAT)
    assert (answer.status, answer.body["error"]["code"]) == (500, "internal_error")
    assert "ZeroDivisionError" in caplog.text


async def test_without_keys_a_line_is_anyones() -> None:
    front = Front(keys=())
    await front.gateway.start()
    line = call(front, CHAT, ANYONE)
    job = await finish(front)
    assert ((await line).status, job.owner, job.spare) == (200, "", True)
    await until(lambda: front.gateway.dispatcher.stats.running() == 0)
    await front.client.aclose()
    await front.gateway.stop()
