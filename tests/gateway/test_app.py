"""The whole gateway in this process, on a pool that the test plays: what a socket can't show."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr

from gateway.app import Gateway
from gateway.config.api_keys import Keyring
from gateway.config.config import Config
from gateway.core.cache_scope import cache_scope
from tests.support.dialects import CHAT, DIALECTS, INFER, Dialect
from tests.support.memory_pool import MemoryPool, job
from tests.support.played_front import KEYS, Front, until
from workers.protocol import Generate

pytestmark = pytest.mark.anyio


async def test_a_bug_in_the_dispatch_loop_does_not_go_unnoticed() -> None:
    """The server ends with it; else it would accept requests that nobody serves."""
    front = Front()

    def free() -> int:
        raise ZeroDivisionError

    front.pool.free = free  # type: ignore[method-assign]
    await front.gateway.start()
    front.gateway.dispatcher.submit(job())
    with pytest.raises(ZeroDivisionError):
        await front.gateway.broken()
    await front.client.aclose()


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    front = Front(cors_origin="https://app.example")
    await front.gateway.start()
    yield front
    await front.client.aclose()
    await front.gateway.stop()


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
async def test_the_job_knows_its_owner(front: Front, dialect: Dialect) -> None:
    job, answer = await front.ask(dialect)
    assert answer.status_code == 200
    assert (job.owner, job.weight, job.priority) == ("app", 3.0, 1.0)
    job, answer = await front.ask(dialect, {"Authorization": "bearer sk-batch"})
    assert answer.headers["x-priority"] == "0"
    assert (job.owner, job.weight, job.priority) == ("batch", 1.0, 0.0)


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
async def test_a_worker_is_told_the_scope_of_key_and_salt(front: Front, dialect: Dialect) -> None:
    batch = {"Authorization": "bearer sk-batch"}
    await front.ask(dialect, batch)
    await front.ask(dialect, batch, cache_salt="a")
    await front.ask(dialect, batch, cache_salt="")
    await front.ask(dialect, cache_salt="a")
    scopes = [request.cache_scope for request in front.pool.submitted]
    keys = [key for key in KEYS if key.name == "batch"] * 3 + KEYS[:1]
    salts = ["", "a", "", "a"]
    assert scopes == list(map(cache_scope, keys, salts))
    assert len(set(scopes)) == 3


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
async def test_a_request_that_goes_on_elsewhere_keeps_its_scope(
    front: Front, dialect: Dialect
) -> None:
    body = dialect.body(cache_salt="a")
    asking = asyncio.create_task(front.client.post(dialect.path, json=body))
    await until(lambda: bool(front.pool.running()))
    (id_,) = front.pool.running()
    front.pool.begin(id_)
    front.pool.progress(id_)
    front.pool.die(0)
    await until(lambda: bool(front.pool.running()))
    front.pool.finish(id_)
    assert (await asking).status_code == 200
    first, second = front.pool.submitted
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.cache_scope == second.cache_scope == cache_scope(KEYS[0], "a")


async def test_the_queue_tells_whose_jobs_wait(front: Front) -> None:
    asking = [
        asyncio.create_task(front.client.post(INFER.path, json=INFER.body(), headers=headers))
        for headers in ({}, {"Authorization": "Bearer sk-batch"})
    ]
    await until(lambda: front.gateway.dispatcher.stats.depth() == len(front.pool.running()) == 1)
    queue = (await front.client.get("/queue")).json()
    assert queue["by_owner"] == {"batch": 1}
    assert queue["waiting"][0]["owner"] == "batch"
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def test_what_was_used_replaces_the_estimate(front: Front) -> None:
    _, answer = await front.ask(INFER, max_tokens=900)
    assert answer.json()["usage"]["total_tokens"] == 9
    assert answer.headers["x-ratelimit-limit-requests"] == "2"
    assert answer.headers["x-ratelimit-limit-tokens"] == "1000"
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) >= 991


async def test_a_job_that_the_queue_refuses_costs_nothing(front: Front) -> None:
    front.gateway.dispatcher.drain()
    for _ in range(10):
        answer = await front.client.post(INFER.path, json=INFER.body())
        assert answer.status_code == 503
        assert answer.headers["x-ratelimit-remaining-requests"] == "2"


async def test_a_refusal_is_told_across_origins_too(front: Front) -> None:
    for _ in range(2):
        await front.ask(CHAT)
    origin = {"Origin": "https://app.example"}
    answer = await front.client.post(CHAT.path, json=CHAT.body(), headers=origin)
    failure = CHAT.refusal(answer)
    assert (failure.status, failure.code) == (429, "rate_limit_exceeded")
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert int(answer.headers["retry-after"]) <= 30


async def test_a_bug_is_told_across_origins_too(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(request: Generate) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(front.gateway.dispatcher, "submit", bug)
    answer = await front.client.post(
        CHAT.path, json=CHAT.body(), headers={"Origin": "https://app.example"}
    )
    assert answer.status_code == 500
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["x-request-id"]


async def test_a_server_without_keys_is_open() -> None:
    pool = MemoryPool(1)
    gateway = Gateway(Config(), pool=pool)
    transport = httpx.ASGITransport(gateway.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://forge") as client:
        for headers in ({}, {"Authorization": "Bearer any"}, {"X-API-Key": "any"}):
            answer = await client.get("/v1/models", headers=headers)
            assert answer.status_code == 200


def test_the_secret_ends_in_the_keyring() -> None:
    keyring = Keyring.load(SecretStr("sk-hidden"), None)
    gateway = Gateway(Config(), keyring, MemoryPool(1))
    assert "sk-hidden" not in f"{gateway.config!r} {vars(gateway.keyring)} {vars(gateway.limits)}"


async def test_what_is_refused_is_counted_once(front: Front) -> None:
    """As a request of its class if it could be read, and as an error answered in any case."""
    await front.ask(INFER, priority=0)
    front.gateway.dispatcher.drain()
    for body in (INFER.body(priority=0), INFER.body(priority="soon"), {}):
        await front.client.post(INFER.path, json=body)
    await front.client.get("/nowhere")
    found = await front.scraped()
    assert found["forge_requests_total", "batch", "finished"] == 1
    assert found["forge_requests_total", "batch", "rejected"] == 1
    requests = [value for (name, *_), value in found.items() if name == "forge_requests_total"]
    assert sum(requests) == 2
    errors = {code: n for (name, _, code), n in found.items() if "error_responses" in name and n}
    assert errors == {"unavailable": 1, "invalid_request": 2, "not_found": 1}


async def test_tokens_and_the_gaps_between_them_are_counted_as_they_come(front: Front) -> None:
    ticket = front.gateway.dispatcher.submit(job(2.0))
    await until(lambda: bool(front.pool.running()))
    (id_,) = front.pool.running()
    front.pool.begin(id_)
    front.pool.progress(id_, 1)
    front.pool.progress(id_, 1)
    found = await front.scraped()
    assert found["forge_generation_tokens_total", "", ""] == 2, "before its end"
    assert found["forge_inter_token_latency_seconds_count", "urgent", ""] == 1
    assert found["forge_requests_running", "", ""] == 1
    assert found["forge_slots_busy", "", ""] == 1
    front.gateway.dispatcher.cancel(ticket)
    assert (await front.scraped())["forge_requests_total", "urgent", "cancelled"] == 1


async def test_who_waits_by_class(front: Front) -> None:
    for priority in (1, 0, 0, 7, 3.5):
        front.gateway.dispatcher.submit(job(priority))
    await until(lambda: bool(front.pool.running()))
    found = await front.scraped()
    depth = {kind: n for (name, kind, _), n in found.items() if name == "forge_queue_depth"}
    assert depth == {"batch": 2, "normal": 1, "urgent": 0, "other": 1}
    assert found["forge_oldest_wait_seconds", "batch", ""] > 0
    assert found["forge_oldest_wait_seconds", "urgent", ""] == 0
    assert found["forge_requests_waiting", "", ""] == 4


async def test_without_metrics() -> None:
    front = Front(metrics=False)
    await front.gateway.start()
    try:
        _, answer = await front.ask(INFER)
        assert answer.status_code == 200
        answer = await front.client.get("/metrics")
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (501, "not_offered")
        assert "--no-metrics" in error["message"]
        assert (await front.client.get("/workers")).status_code == 200
        described = (await front.client.get("/openapi.json")).json()["paths"]
        assert "501" in described["/metrics"]["get"]["responses"]
    finally:
        await front.client.aclose()
        await front.gateway.stop()
