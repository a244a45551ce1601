"""One text, however it was computed: alone, in a crowd, or on two workers because one died."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from tests.conftest import Start
from tests.contract.dialects import CHAT, DONE, data_of
from tests.e2e.traffic import Streaming
from tests.server import DEADLINE_S, ForgeServer, eventually, gone

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


MIXED: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 1, "seed": 1},
    {"temperature": 0, "frequency_penalty": 1.5, "presence_penalty": 1.5},
    {"temperature": 0.8, "seed": 2, "repeat_penalty": 2, "top_p": 0.9},
    {"temperature": 1.5, "seed": 3, "top_k": 50, "min_p": 0.01},
    {"temperature": 0},
]
"""A resumed generation must draw the same numbers and know the same penalties."""
LONG: dict[str, Any] = {"ignore_eos": True, "max_tokens": 150}


def kill_in_mid_stream(server: ForgeServer) -> None:
    """Kill worker 0 while all of MIXED run; their texts must be those of undisturbed runs."""
    jobs = [(prompt, {**LONG, **params}) for prompt, params in zip(PROMPTS, MIXED, strict=False)]
    expected = [alone(server, prompt, **params) for prompt, params in jobs]
    before = server.workers()
    streams = [Streaming(server, prompt, **params) for prompt, params in jobs]
    for stream in streams:
        stream.wait_for(40)
    victim = server.workers()[0]
    assert victim["busy"] > 0
    os.kill(victim["pid"], signal.SIGKILL)
    assert not all(stream.done for stream in streams)
    texts = [stream.finish() for stream in streams]
    assert [stream.error or stream.broken for stream in streams] == [None] * len(streams)
    assert all(stream.done for stream in streams)
    assert texts == expected

    def restarted() -> bool:
        worker = server.workers()[0]
        return bool(worker["restarts"] == 1 and worker["state"] == "ready")

    eventually(restarted, "the worker is replaced")
    after = server.workers()
    assert after[0]["pid"] not in {worker["pid"] for worker in before}
    assert gone(victim["pid"])
    assert server.busy() == 0


def test_a_worker_dies_beside_another(
    start_server: Start, exact: tuple[Path, tuple[str, ...]]
) -> None:
    model, options = exact
    server = start_server("--workers", "2", "--slots", "4", *options, model=model)
    kill_in_mid_stream(server)
    assert server.workers()[1]["restarts"] == 0
    server.stop()


def test_the_only_worker_dies(start_server: Start, exact: tuple[Path, tuple[str, ...]]) -> None:
    """The streams pause until its successor is ready; meanwhile the server is not healthy."""
    model, options = exact
    server = start_server("--workers", "1", "--slots", "8", *options, model=model)
    kill_in_mid_stream(server)
    server.stop()


def test_it_dies_again_and_again(start_server: Start, exact: tuple[Path, tuple[str, ...]]) -> None:
    """Deaths count only while no token comes in between, so a long stream survives many."""
    model, options = exact
    server = start_server("--workers", "1", "--slots", "1", *options, model=model)
    params = {"temperature": 0, "ignore_eos": True, "max_tokens": 300}
    expected = alone(server, PROMPTS[2], **params)
    stream = Streaming(server, PROMPTS[2], **params)
    for _ in range(3):
        stream.wait_for(len(stream.pieces) + 20)
        (pid,) = server.pids()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda pid=pid: gone(pid), "the worker ends")  # type: ignore[misc]
    assert stream.finish() == expected
    assert stream.done
    assert server.workers()[0]["restarts"] == 3
    server.stop()


def test_an_unhealthy_moment(start_server: Start) -> None:
    """With its only worker dead the server says so, and a request waits instead of failing."""
    server = start_server("--workers", "1", "--slots", "1")
    (pid,) = server.pids()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: httpx.get(server.url + "/health").status_code == 503, "it is noticed")
    with httpx.Client(base_url=server.url, timeout=DEADLINE_S) as client:
        assert CHAT.ask(client, max_tokens=1).text is not None
    assert server.get("/health") == {"status": "ok"}
    server.stop()
