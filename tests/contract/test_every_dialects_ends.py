"""Requests of every dialect that do not end as they would: late, unwanted, refused or lost."""

from typing import Any

import pytest

from gateway.core.cache_scope import cache_scope
from tests.support.dialects import Way
from tests.support.played_front import Front, until
from tests.support.ways import FREE, answer, ask, refused, serving

pytestmark = pytest.mark.anyio


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
