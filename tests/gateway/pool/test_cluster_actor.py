"""The actor that carries a worker's bytes on its node: a real worker, and no Ray."""

import asyncio
import signal
from pathlib import Path

import msgspec
import pytest

import gateway
from gateway.config.config import EMBEDDED_MODEL, Config
from gateway.pool.cluster.actor import WorkerActor
from gateway.pool.cluster.control import (
    AT_THEIR_PATHS,
    ActorRefused,
    ActorStarted,
    FetchNews,
    FilesThere,
    Launched,
)
from tests.support.server import DEADLINE_S
from workers.protocol import (
    Event,
    Finished,
    FrameDecoder,
    FromWorker,
    Generate,
    GenerationParams,
    Ready,
    Sampling,
    Step,
    Text,
    TraceParent,
    encode,
)

pytestmark = pytest.mark.anyio
PIECE = 37
"""Bytes of a call: no frame's length."""


async def test_a_generation_and_its_trace_cross_as_bytes(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In whatever pieces: the worker takes up the trace, and its tokens come back."""
    actor = WorkerActor(gateway.__version__)
    spec = msgspec.msgpack.encode(
        Config(slots=2, threads=1, workers=1, log_level="info").worker_spec()
    )
    for at in range(0, len(spec), PIECE):
        await actor.prepare(1, spec[at : at + PIECE])
    told = msgspec.msgpack.decode(await actor.launch(1), type=Launched)
    assert isinstance(told, ActorStarted)
    decoder, trace = (
        FrameDecoder[FromWorker](FromWorker),
        TraceParent(f"00-{'ab' * 16}-{'cd' * 8}-01", ""),
    )
    params = GenerationParams(Sampling(temperature=0.0, seed=1), max_tokens=3, ignore_eos=True)
    frame = encode(Generate(5, 1, Text("hello"), params, 0.0, trace=trace))
    ids: list[int] = []
    async with asyncio.timeout(DEADLINE_S):
        async for data in actor.frames(1):
            for report in decoder.feed(data):
                if isinstance(report, Ready):
                    for at in range(0, len(frame), PIECE):
                        await actor.write(1, frame[at : at + PIECE])
                for event in events_of(report):
                    ids += getattr(event, "ids", [])
                    if isinstance(event, Finished):
                        await actor.hang_up(1)
    assert await actor.end(1) == 0
    assert len(ids) == 3
    (line,) = (e for e in capfd.readouterr().err.splitlines() if "takes a traced generation" in e)
    assert "ab" * 16 in line
    assert "cd" * 8 in line


def events_of(report: FromWorker) -> list[Event]:
    return list(report.events) if isinstance(report, Step) else []


async def fetched(actor: WorkerActor, channel: int) -> FetchNews:
    """Return the last word about files at their paths."""
    sources, last = msgspec.msgpack.encode(AT_THEIR_PATHS), b""
    async for news in actor.fetch(channel, sources, b""):
        last = news
    told: FetchNews = msgspec.msgpack.decode(last, type=FetchNews)
    return told


async def test_another_version_is_refused() -> None:
    actor = WorkerActor("0.0.1")
    await actor.prepare(1, b"")
    told = msgspec.msgpack.decode(await actor.launch(1), type=Launched)
    assert isinstance(told, ActorRefused)
    assert "the gateway is 0.0.1" in told.message
    await actor.prepare(2, b"")
    assert await fetched(actor, 2) == ActorRefused(told.message)


async def test_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    """Its node lacks it, which is no fault of the settings; the same actor finds it later."""
    model = tmp_path / "m.gguf"
    spec = msgspec.msgpack.encode(Config(model=model, slots=1, threads=1).worker_spec())
    actor = WorkerActor(gateway.__version__)
    await actor.prepare(1, spec)
    assert isinstance(await fetched(actor, 1), FilesThere)
    told = msgspec.msgpack.decode(await actor.launch(1), type=Launched)
    assert isinstance(told, ActorRefused)
    assert told.lacks
    assert str(model) in told.message
    model.write_bytes(EMBEDDED_MODEL.read_bytes())
    await actor.prepare(2, spec)
    assert isinstance(await fetched(actor, 2), FilesThere)
    assert isinstance(msgspec.msgpack.decode(await actor.launch(2), type=Launched), ActorStarted)
    await actor.kill(2)
    async for _ in actor.frames(2):
        pass
    assert await actor.end(2) == -signal.SIGKILL
