"""One text, however it was computed: alone or in a crowd. When workers die: see tests/chaos."""

import json
from typing import Any

import anyio
import httpx
import pytest

from tests.support.dialects import CHAT, DONE, data_of
from tests.support.server import DEADLINE_S, ForgeServer

PROMPTS = [
    "hello",
    "what is 2+2?",
    "tell me a story about a fox",
    "tell me a story about a fox and a hen",
    "what is aging?",
    "what does p99 mean?",
    "why processes?",
    "list five animals",
    "how do I set the priority?",
    "who are you?",
    "count from one to twenty",
    "what is 7+8?",
    "good morning, how are you today?",
    "give me a JSON object",
    "tell me a long story about the sea",
    "what is the capital of France?",
]
GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "max_tokens": 80}


def alone(server: ForgeServer, prompt: str, **params: Any) -> str:
    """The text when nothing else runs."""
    with httpx.Client(base_url=server.url, timeout=DEADLINE_S) as client:
        return CHAT.ask(client, prompt, **params).text


@pytest.mark.anyio
async def test_16_streams_on_2_workers(exact_server: ForgeServer) -> None:
    expected = [alone(exact_server, prompt, **GREEDY) for prompt in PROMPTS]
    assert len(set(expected)) > 8
    texts = [""] * len(PROMPTS)
    busy: list[int] = []

    async def stream(client: httpx.AsyncClient, index: int) -> None:
        body = CHAT.body(PROMPTS[index], stream=True, **GREEDY)
        async with client.stream("POST", CHAT.path, json=body) as response:
            events = list(data_of(iter([line async for line in response.aiter_lines()])))
        assert events.pop() == DONE
        texts[index] = CHAT.joined([json.loads(event) for event in events])

    async def watch(client: httpx.AsyncClient) -> None:
        while True:
            workers = (await client.get("/workers")).json()
            busy.append(min(worker["busy"] for worker in workers))
            await anyio.sleep(0.005)

    async with (
        httpx.AsyncClient(base_url=exact_server.url, timeout=DEADLINE_S) as client,
        anyio.create_task_group() as watching,
    ):
        watching.start_soon(watch, client)
        async with anyio.create_task_group() as streams:
            for index in range(len(PROMPTS)):
                streams.start_soon(stream, client, index)
        watching.cancel_scope.cancel()
    assert texts == expected
    # Both workers had several at a time: the batches were real ones.
    assert max(busy) > 1
