"""Questions to workers, and bodies that need none; on a pool that the test plays."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.app import Gateway
from gateway.config.config import Config
from gateway.core.errors import QueueFull
from gateway.dispatch.dispatcher import TROUBLE_RETRY_S
from tests.support.dialects import CHAT, Failure
from tests.support.memory_pool import MemoryPool
from workers.protocol import ApplyTemplate, Chat, Detokenize, Question, Tokenize

pytestmark = pytest.mark.anyio

MESSAGES = [{"role": "user", "content": "hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "/tokenize": {"content": "a"},
    "/detokenize": {"tokens": [1]},
    "/apply-template": {"messages": MESSAGES},
}


class Front:
    """A gateway on a pool of one worker, whose part the test plays."""

    def __init__(self) -> None:
        self.pool = MemoryPool(1)
        self.gateway = Gateway(Config(alias="m"), pool=self.pool)
        transport = httpx.ASGITransport(self.gateway.app(), raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://forge")

    async def asked(self, path: str, body: dict[str, Any]) -> Question:
        """Return the question to the pool, whose answer is passed on as it is."""
        before = len(self.pool.asked)
        post = asyncio.create_task(self.client.post(path, json=body))
        while len(self.pool.asked) == before:
            assert not post.done(), post.result().text
            await asyncio.sleep(0)
        question, answer = self.pool.asked[-1]
        answer.set_result(b'{"is": [this]}')
        response = await post
        assert (response.status_code, response.content) == (200, b'{"is": [this]}')
        assert response.headers["content-type"] == "application/json"
        return question

    async def refusal(self, path: str) -> tuple[Failure, str]:
        response = await self.client.post(path, json=BODIES[path])
        return CHAT.refusal(response), response.headers["retry-after"]


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    front = Front()
    await front.gateway.start()
    yield front
    await front.client.aclose()
    await front.gateway.stop()


DEFAULT = Tokenize("a", add_special=False, parse_special=True, pieces=False)
ALL = {"add_special": True, "parse_special": True, "with_pieces": True}


@pytest.mark.parametrize(
    ("options", "question"),
    [
        ({}, DEFAULT),
        (dict.fromkeys(ALL), DEFAULT),
        ({"model": "m"}, DEFAULT),
        (ALL, Tokenize("a", add_special=True, parse_special=True, pieces=True)),
        ({"add_special": True}, Tokenize("a", add_special=True, parse_special=True, pieces=False)),
        (
            dict.fromkeys(ALL, False),
            Tokenize("a", add_special=False, parse_special=False, pieces=False),
        ),
        ({"with_pieces": True}, Tokenize("a", add_special=False, parse_special=True, pieces=True)),
    ],
    ids=str,
)
async def test_tokenize(front: Front, options: dict[str, Any], question: Tokenize) -> None:
    assert await front.asked("/tokenize", {"content": "a", **options}) == question


async def test_detokenize(front: Front) -> None:
    ids = [0, 5, 2**31 - 1]
    assert await front.asked("/detokenize", {"tokens": ids}) == Detokenize(ids)


async def test_apply_template(front: Front) -> None:
    """As the same messages become a prompt of /v1/chat/completions."""
    parts = [{"type": "text", "text": "hi"}, {"type": "text", "text": "ho"}]
    messages = [{"role": "developer", "content": "Be."}, {"role": "user", "content": parts}]
    question = await front.asked("/apply-template", {"messages": messages})
    assert isinstance(question, ApplyTemplate)
    assert question.chat == Chat(
        [{"role": "system", "content": "Be."}, {"role": "user", "content": "hi\nho"}]
    )
    assert question.now > 1.7e9


@pytest.mark.parametrize("path", BODIES)
async def test_nobody_is_asked_in_vain(front: Front, path: str) -> None:
    """The same answers as /health gives."""

    async def ask(question: Question) -> bytes:
        raise AssertionError("asked in vain")

    front.pool.ask = ask  # type: ignore[method-assign]
    front.pool.ready = lambda: False  # type: ignore[method-assign]
    assert (await front.refusal(path))[1] == "1"
    front.pool.trouble = "no worker can be started: x"
    failure, retry_after = await front.refusal(path)
    assert (failure.status, failure.code) == (503, "unavailable")
    assert (failure.message, retry_after) == (front.pool.trouble, str(TROUBLE_RETRY_S))
    front.gateway.dispatcher.drain()
    failure, _ = await front.refusal(path)
    assert "shutting down" in failure.message


@pytest.mark.parametrize("path", BODIES)
async def test_what_goes_wrong_is_told(front: Front, path: str) -> None:
    async def full(question: Question) -> bytes:
        raise QueueFull("too many", retry_after=3)

    front.pool.ask = full  # type: ignore[method-assign]
    failure, retry_after = await front.refusal(path)
    assert (failure.status, failure.code, retry_after) == (429, "queue_full", "3")
