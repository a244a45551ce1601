"""Requests in Ollama's dialect while they wait, work and fail, on a pool that the test plays."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from gateway.app import Gateway
from gateway.config.config import Config
from tests.support.answering_pool import MODEL
from tests.support.memory_pool import MemoryPool
from workers.protocol import Chat, CountTokens, Embedding

pytestmark = pytest.mark.anyio
HELLO = [{"role": "user", "content": "hello"}]


async def until(so: Callable[[], bool]) -> None:
    for _ in range(1000):
        if so():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never happened")


class Served:
    """A gateway with one slot, at work."""

    def __init__(self, **options: Any) -> None:
        self.pool = MemoryPool(1)
        self.pool.model = MODEL
        self.gateway = Gateway(Config(**options), None, self.pool)
        transport = httpx.ASGITransport(self.gateway.app(), raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://forge")

    async def __aenter__(self) -> "Served":
        await self.gateway.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()
        await self.gateway.stop()
        assert self.pool.leaks() == []

    def post(self, path: str = "/api/chat", **body: Any) -> asyncio.Task[httpx.Response]:
        return asyncio.create_task(self.client.post(path, json=body))

    async def running(self) -> int:
        await until(lambda: bool(self.pool.running()))
        (id_,) = self.pool.running()
        return id_

    async def answer(self, asking: asyncio.Task[httpx.Response]) -> httpx.Response:
        id_ = await self.running()
        self.pool.begin(id_)
        self.pool.finish(id_)
        return await asking


def lines(response: httpx.Response) -> list[Any]:
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


async def test_a_stream_that_waits_gets_empty_lines() -> None:
    async with Served(keepalive=0.01) as served:
        first = served.post(messages=HELLO)
        id_ = await served.running()
        late = served.post(messages=HELLO)
        await asyncio.sleep(0.05)
        served.pool.begin(id_)
        served.pool.finish(id_)
        assert (await first).status_code == 200
        *waiting, text, last = lines(await served.answer(late))
        assert waiting
        for line in waiting:
            assert line["message"] == {"role": "assistant", "content": ""}
            assert line["done"] is False
        assert (text["message"]["content"], last["done"]) == ("x", True)


async def test_an_error_after_that_is_a_line() -> None:
    async with Served(keepalive=0.01) as served:
        asking = served.post("/api/generate", prompt="hello")
        id_ = await served.running()
        await asyncio.sleep(0.05)
        served.pool.fail(id_)
        *waiting, error = lines(await asking)
        assert waiting
        assert error == {"error": "llama_decode", "code": "worker_failed"}


async def test_an_error_before_that_has_a_status() -> None:
    async with Served() as served:
        asking = served.post(messages=HELLO)
        served.pool.fail(await served.running())
        response = await asking
        assert response.status_code == 500
        assert response.headers["content-type"] == "application/json"
        assert response.json()["error"] == "llama_decode"


async def test_a_job_is_what_the_body_says() -> None:
    async with Served() as served:
        asking = served.post(
            messages=HELLO,
            options={"num_ctx": 2000, "num_predict": 9, "num_keep": 2, "seed": 5, "stop": ["."]},
            format="json",
            keep_alive="5m",
            logprobs=True,
        )
        id_ = await served.running()
        params = served.pool.running()[id_].params
        job = served.gateway.dispatcher._running[id_].job
        assert (params.context, params.max_tokens, params.cut_after) == (2000, 9, 2)
        assert (params.sampling.seed, params.sampling.top_k, params.stop) == (5, 40, (".",))
        assert (params.logprobs, params.prompt_ids, job.keep_alive) == (0, False, 300.0)
        assert params.constraint is not None
        assert (await served.answer(asking)).status_code == 200


async def test_only_prompts_with_a_template_tell_their_tokens() -> None:
    async with Served() as served:
        for body, tells in (({}, True), ({"raw": True}, False)):
            asking = served.post("/api/generate", prompt="hello", truncate=False, **body)
            id_ = await served.running()
            params = served.pool.running()[id_].params
            assert (params.prompt_ids, params.cut_after) == (tells, None)
            assert ("context" in lines(await served.answer(asking))[-1]) == tells


async def test_a_short_conversation_is_not_counted() -> None:
    async with Served() as served:
        assert (await served.answer(served.post(messages=HELLO))).status_code == 200
        assert served.pool.asked == []


async def counted(served: Served, asking: asyncio.Task[httpx.Response]) -> None:
    """Answer each question about a conversation with 100 tokens a message."""
    told = 0
    while not asking.done() and not served.pool.running():
        for question, answer in served.pool.asked[told:]:
            assert isinstance(question, CountTokens)
            answer.set_result(b'{"input_tokens": %d}' % (100 * len(question.chat.messages)))
            told += 1
        await asyncio.sleep(0)


async def test_a_long_conversation_loses_old_turns() -> None:
    """As many as there have to go for the answer to have room."""
    async with Served() as served:
        turns = [
            {"role": "assistant" if n % 2 else "user", "content": f"{n}: {'x' * 100}"}
            for n in range(41)
        ]
        asking = served.post(messages=turns, options={"num_predict": 48})
        await counted(served, asking)
        id_ = await served.running()
        prompt = served.pool.running()[id_].prompt
        assert isinstance(prompt, Chat)
        assert [each["content"] for each in prompt.messages] == [
            each["content"] for each in turns[-19:]
        ]
        assert (await served.answer(asking)).status_code == 200


async def test_it_is_whole_where_that_is_asked_for() -> None:
    async with Served() as served:
        turns = [{"role": "user", "content": "x" * 100}] * 20
        asking = served.post(messages=turns, truncate=False)
        id_ = await served.running()
        prompt = served.pool.running()[id_].prompt
        assert isinstance(prompt, Chat)
        assert len(prompt.messages) == 20
        assert served.pool.asked == []
        assert (await served.answer(asking)).status_code == 200


async def test_a_model_that_is_not_known_yet_is_not_asked() -> None:
    """Its worker cuts: a request must not load a model outside of the queue."""
    async with Served() as served:
        served.pool.model = None
        asking = served.post(messages=[{"role": "user", "content": "x" * 100_000}], think=True)
        id_ = await served.running()
        assert served.pool.running()[id_].params.cut_after == 4
        assert (await served.answer(asking)).status_code == 200


async def test_what_a_model_can_do_is_checked_once_it_is_known() -> None:
    async with Served() as served:
        served.pool.model = msgspec.structs.replace(MODEL, thinks=True, infills=True)
        think = served.post(messages=HELLO, think=True)
        assert (await served.answer(think)).status_code == 200
        gap = served.post("/api/generate", prompt="a", suffix="c")
        assert (await served.answer(gap)).status_code == 200


async def test_inputs_may_be_cut_unless_that_is_refused() -> None:
    async with Served() as served:
        for path, body, cut in (
            ("/api/embed", {"input": "x"}, True),
            ("/api/embed", {"input": "x", "truncate": False}, False),
            ("/api/embeddings", {"prompt": "x"}, True),
        ):
            asking = served.post(path, keep_alive=3, priority="batch", **body)
            id_ = await served.running()
            request = served.pool.running()[id_]
            assert request.params.embedding == Embedding(None, cut)
            assert request.priority == 0.0
            assert served.gateway.dispatcher._running[id_].job.keep_alive == 3.0
            served.pool.fail(id_)
            assert (await asking).status_code == 500
