"""The life of a response while it waits, fails, is left, or is ended: on a pool of one slot."""

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from gateway.app import Gateway
from gateway.config.config import Config
from gateway.dispatch.ticket import Ticket
from tests.support.dialects import RESPONSES, data_of
from tests.support.memory_pool import MemoryPool
from tests.support.response_events import check

pytestmark = pytest.mark.anyio
PATH = RESPONSES.path


class House:
    """A gateway with a pool of one slot, and a client."""

    def __init__(self, **options: Any) -> None:
        self.pool = MemoryPool(1)
        self.gateway = Gateway(Config(keepalive=0.01, **options), None, self.pool)
        transport = httpx.ASGITransport(self.gateway.app())
        self.client = httpx.AsyncClient(transport=transport, base_url="http://forge")

    def post(self, **body: Any) -> "asyncio.Task[httpx.Response]":
        return asyncio.create_task(self.client.post(PATH, json={"input": "x", **body}))

    async def running(self) -> int:
        """The generation that has the slot."""
        await until(lambda: bool(self.pool.running()))
        (id_,) = self.pool.running()
        return id_

    async def waiting(self, count: int) -> None:
        await until(lambda: self.gateway.dispatcher.stats.depth() == count)

    async def answer(self) -> None:
        """Let the generation that has the slot begin, bring tokens, and end."""
        id_ = await self.running()
        self.pool.begin(id_)
        self.pool.progress(id_)
        self.pool.finish(id_)


@contextlib.asynccontextmanager
async def house(**options: Any) -> AsyncIterator[House]:
    found = House(**options)
    await found.gateway.start()
    try:
        yield found
    finally:
        await found.client.aclose()
        await found.gateway.stop()
    assert found.pool.leaks() == []


async def until(so: Callable[[], bool]) -> None:
    for _ in range(1000):
        if so():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it never happened")


def events(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    found = [json.loads(data) for data in data_of(iter(response.text.splitlines()))]
    check(found, found[-1]["response"])
    return found


def types(found: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in found]


async def test_a_stream_that_waits_tells_its_place() -> None:
    async with house() as at:
        first = at.post()
        holder = await at.running()
        second, third = at.post(stream=True), at.post(stream=True)
        await at.waiting(2)
        await asyncio.sleep(0.1)
        at.pool.begin(holder)
        at.pool.finish(holder)
        await first
        for _ in range(2):
            await at.answer()
            await asyncio.sleep(0.02)
        places = []
        for stream in (second, third):
            found = events(await stream)
            kinds = types(found)
            assert kinds[:2] == ["created", "queued"]
            assert kinds.index("in_progress") > max(
                at for at, kind in enumerate(kinds) if kind == "queued"
            )
            queued = [event["response"] for event in found if "queue" in event.get("response", {})]
            assert {response["status"] for response in queued} == {"queued"}
            places.append(queued[0]["queue"]["position"])
        assert places == [1, 2]


async def test_a_long_prompt_is_told_as_progress() -> None:
    async with house() as at:
        stream = at.post(stream=True)
        await at.running()
        await asyncio.sleep(0.05)
        await at.answer()
        kinds = types(events(await stream))
        assert kinds.count("in_progress") > 1
        assert "queued" not in kinds


async def test_a_time_that_is_over_keeps_its_status_or_ends_the_stream() -> None:
    async with house() as at:
        holder = at.post()
        await at.running()
        late = await at.client.post(PATH, json={"input": "x", "timeout": 0.05})
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        found = events(
            await at.client.post(PATH, json={"input": "x", "timeout": 0.1, "stream": True})
        )
        assert types(found)[-1] == "failed"
        failed = found[-1]["response"]
        assert failed["status"] == "failed"
        assert failed["error"]["code"] == "server_error"
        await at.answer()
        await holder


async def test_a_full_queue_says_when_to_come_again() -> None:
    async with house(max_queue=1) as at:
        holder, waiting = at.post(), None
        await at.running()
        waiting = at.post(stream=True)
        await at.waiting(1)
        refused = await at.client.post(PATH, json={"input": "x", "stream": True})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        # A more urgent one takes its place: the stream that has begun says so in agents' words.
        await asyncio.sleep(0.05)
        urgent = at.post(priority=2)
        found = events(await waiting)
        error = found[-1]["response"]["error"]
        assert error["code"] == "rate_limit_exceeded"
        assert "Please try again in " in error["message"]
        await at.answer()
        await at.answer()
        assert (await holder).status_code == (await urgent).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_ends_its_response(stream: bool) -> None:
    async with house() as at:
        asking = at.post(stream=stream)
        id_ = await at.running()
        at.pool.begin(id_)
        at.pool.progress(id_)
        await asyncio.sleep(0.01)
        asking.cancel()
        await until(lambda: id_ in at.pool.cancelled)
        at.pool.finish(id_, "cancelled")


async def test_work_in_the_background_outlives_its_request() -> None:
    async with house() as at:
        made = (await at.post(background=True)).json()
        path = f"{PATH}/{made['id']}"
        follower = asyncio.create_task(at.client.get(path, params={"stream": "true"}))
        id_ = await at.running()
        at.pool.begin(id_)
        at.pool.progress(id_)
        await until(lambda: True)
        follower.cancel()  # a reader's leaving changes nothing
        await asyncio.sleep(0.02)
        assert id_ not in at.pool.cancelled
        assert (await at.client.get(path)).json()["status"] == "in_progress"
        body = {"input": "x", "previous_response_id": made["id"]}
        early = await at.client.post(PATH, json=body)
        assert RESPONSES.refusal(early).param == "previous_response_id"
        at.pool.finish(id_)
        found = events(await at.client.get(path, params={"stream": "true"}))
        assert found[-1]["response"] == (await at.client.get(path)).json()
        assert found[-1]["response"]["status"] == "completed"


@pytest.mark.parametrize("way", ["cancel", "delete", "evict"])
async def test_work_in_the_background_that_is_not_wanted_ends(way: str) -> None:
    async with house(store_bytes=30_000) as at:
        made = (await at.post(background=True)).json()
        path = f"{PATH}/{made['id']}"
        id_ = await at.running()
        at.pool.begin(id_)
        at.pool.progress(id_)
        await asyncio.sleep(0.02)
        follower = asyncio.create_task(at.client.get(path, params={"stream": "true"}))
        await asyncio.sleep(0.02)
        if way == "cancel":
            cancelled = (await at.client.post(f"{path}/cancel")).json()
            assert cancelled["status"] == "cancelled"
            assert [item["status"] for item in cancelled["output"]] == ["incomplete"]
        elif way == "delete":
            await at.client.delete(path)
        else:
            items = [{"role": "user", "content": "x" * 25_000}]
            conversation = await at.client.post("/v1/conversations", json={"items": items})
            assert conversation.status_code == 200
            assert (await at.client.get(path)).status_code == 404
        await until(lambda: id_ in at.pool.cancelled)
        at.pool.finish(id_, "cancelled")
        assert events(await follower)[-1]["response"]["status"] == "cancelled"


async def test_what_is_at_work_when_the_server_ends_has_failed() -> None:
    async with house() as at:
        made = (await at.post(background=True)).json()
        id_ = await at.running()
        at.gateway.abandon()
        await until(lambda: id_ in at.pool.cancelled)
        at.pool.finish(id_, "cancelled")
        await asyncio.sleep(0.02)
        failed = (await at.client.get(f"{PATH}/{made['id']}")).json()
        assert failed["status"] == "failed"
        assert failed["error"]["code"] == "rate_limit_exceeded"  # agents try again


async def test_a_response_that_is_too_large_to_be_kept_is_answered_all_the_same() -> None:
    async with house(store_bytes=4000) as at:
        asking = at.post(input="x" * 5000)
        await at.answer()
        made = (await asking).json()
        assert made["status"] == "completed"
        assert (await at.client.get(f"{PATH}/{made['id']}")).status_code == 404
        refused = await at.client.post(PATH, json={"input": "x" * 5000, "background": True})
        assert RESPONSES.refusal(refused).param == "background"
        assert at.gateway.dispatcher.stats.depth() == 0


async def test_what_waits_behind_the_scenes_fills_no_log() -> None:
    async with house() as at:
        holder = at.post()
        await at.running()
        made = (await at.post(background=True)).json()
        assert (made["status"], made["queue"]) == ("queued", {"position": 1})
        await at.waiting(1)
        await asyncio.sleep(0.1)
        urgent = at.post(priority=2)
        await at.waiting(2)
        await asyncio.sleep(1.1)  # the order is made anew
        told = (await at.client.get(f"{PATH}/{made['id']}")).json()
        assert told["queue"] == {"position": 2}
        for _ in range(3):
            await at.answer()
            await asyncio.sleep(0.02)
        await holder
        await urgent
        found = events(await at.client.get(f"{PATH}/{made['id']}", params={"stream": "true"}))
        assert types(found)[:3] == ["created", "queued", "in_progress"]
        assert types(found).count("queued") == types(found).count("in_progress") == 1


def tickets(id_: str) -> int:
    """Return how many tickets of a response are in memory."""
    gc.collect()
    # Of a class by its type alone: other packages' objects warn when they are asked for theirs.
    found = [each for each in gc.get_objects() if type(each) is Ticket]
    return sum(id_ == f"resp_{each.request_id}" for each in found)


async def test_of_work_that_is_done_only_what_is_stored_stays() -> None:
    """The prompt, the tokens and the request would take many times the bytes that are counted."""
    async with house() as at:
        made = (await at.post(background=True)).json()
        path = f"{PATH}/{made['id']}"
        await at.running()
        assert tickets(made["id"]) == 1
        await at.answer()
        events(await at.client.get(path, params={"stream": "true"}))
        await asyncio.sleep(0.02)
        assert tickets(made["id"]) == 0
        assert (await at.client.post(f"{path}/cancel")).json()["status"] == "completed"
