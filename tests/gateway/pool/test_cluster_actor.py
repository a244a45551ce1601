"""The actor that starts a worker on its node, and the driver's part of it: real workers and
sockets, and no Ray."""

import asyncio
import inspect
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trustme

import gateway
from gateway.config.config import EMBEDDED_MODEL, Config
from gateway.pool.cluster import actor as actors
from gateway.pool.cluster import connection, launching
from gateway.pool.cluster.actor import WorkerActor
from gateway.pool.cluster.control import AT_THEIR_PATHS, WorkerRunning
from gateway.pool.cluster.launching import ChannelPlace, LaunchRefused, carry, launch
from tests.support.server import DEADLINE_S, freeze
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
"""Bytes of a write: no frame's length."""
SOURCES = msgspec.msgpack.encode(AT_THEIR_PATHS)
SPEC = Config(slots=2, threads=1, workers=1, log_level="info").worker_spec()


class OfRay:
    """An actor as the driver has it: each of its methods has a ``remote``."""

    def __init__(self, actor: WorkerActor) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._actor, name)
        streams = inspect.isasyncgenfunction(method)
        return SimpleNamespace(remote=references(method) if streams else method)


def references(method: Callable[..., Any]) -> Callable[..., AsyncIterator[Any]]:
    async def remote(*arguments: Any) -> AsyncIterator[Any]:
        async for each in method(*arguments):
            reference = asyncio.get_running_loop().create_future()
            reference.set_result(each)
            yield reference

    return remote


class Started:
    """A worker, and the gateway's end of its channel."""

    def __init__(self, gateway: socket.socket, far: asyncio.Transport, pid: int) -> None:
        self.gateway = gateway
        self.far = far
        self.pid = pid
        self.carried: asyncio.Task[int]

    async def say(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.gateway, data)

    async def hears(self) -> AsyncIterator[FromWorker]:
        decoder = FrameDecoder[FromWorker](FromWorker)
        while data := await asyncio.get_running_loop().sock_recv(self.gateway, PIECE):
            for message in decoder.feed(data):
                yield message

    async def until_ready(self) -> None:
        async for message in self.hears():
            if isinstance(message, Ready):
                return
        pytest.fail("it ended before it was ready")

    async def until_end(self) -> None:
        async for _ in self.hears():
            pass


@asynccontextmanager
async def started(actor: WorkerActor, channel: int = 1) -> AsyncIterator[Started]:
    """Start a worker as the driver does, and carry its bytes."""
    far, running = await launched(actor, channel)
    near, ours = socket.socketpair()
    near.setblocking(False)
    ours.setblocking(False)
    found = Started(ours, far, running.pid)
    found.carried = asyncio.create_task(carry(near, far, actor.end(channel)))
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield found
    finally:
        ours.close()
        await found.carried


async def launched(
    actor: WorkerActor, channel: int = 1, spec: bytes = msgspec.msgpack.encode(SPEC)
) -> tuple[asyncio.Transport, WorkerRunning]:
    place = ChannelPlace(channel, "one", "127.0.0.1")
    return await launch(OfRay(actor), place, (SOURCES, spec), lambda _: None)


async def test_a_generation_and_its_trace_cross_as_bytes(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In whatever pieces: the worker takes up the trace, and its tokens come back."""
    trace = TraceParent(f"00-{'ab' * 16}-{'cd' * 8}-01", "")
    params = GenerationParams(Sampling(temperature=0.0, seed=1), max_tokens=3, ignore_eos=True)
    frame = encode(Generate(5, 1, Text("hello"), params, 0.0, trace=trace))
    ids: list[int] = []
    async with started(WorkerActor(gateway.__version__)) as worker:
        async for report in worker.hears():
            if isinstance(report, Ready):
                for at in range(0, len(frame), PIECE):
                    await worker.say(frame[at : at + PIECE])
            for event in events_of(report):
                ids += getattr(event, "ids", [])
                if isinstance(event, Finished):
                    worker.gateway.shutdown(socket.SHUT_WR)  # it hangs up
        assert await worker.carried == 0
    assert len(ids) == 3
    (line,) = (e for e in capfd.readouterr().err.splitlines() if "takes a traced generation" in e)
    assert "ab" * 16 in line
    assert "cd" * 8 in line


def events_of(report: FromWorker) -> list[Event]:
    return list(report.events) if isinstance(report, Step) else []


async def test_another_version_is_refused() -> None:
    actor = WorkerActor("0.0.1")
    with pytest.raises(LaunchRefused, match=r"the gateway is 0\.0\.1"):
        await launched(actor)
    await actor.prepare(2, b"")
    assert b"the gateway is 0.0.1" in await actor.launch(2), "it does not come to a connection"


async def test_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    """Its node lacks it, which is no fault of the settings; the same actor finds it later."""
    model = tmp_path / "m.gguf"
    spec = msgspec.msgpack.encode(Config(model=model, slots=1, threads=1).worker_spec())
    actor = WorkerActor(gateway.__version__)
    with pytest.raises(LaunchRefused, match=r"m\.gguf") as caught:
        await launched(actor, 1, spec)
    assert caught.value.told.lacks
    model.write_bytes(EMBEDDED_MODEL.read_bytes())
    async with started(actor, 2) as worker:
        await actor.kill(2)
        assert await worker.carried == -signal.SIGKILL
        await worker.until_end()


async def test_where_ray_has_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The connection of a worker has it, by the same files."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    monkeypatch.setenv("RAY_USE_TLS", "1")
    for name, file in zip(connection.TLS_FILES, ("own.pem", "own.pem", "ca.pem"), strict=True):
        monkeypatch.setenv(name, str(tmp_path / file))
    async with started(WorkerActor(gateway.__version__)) as worker:
        assert worker.far.get_extra_info("ssl_object") is not None
        await worker.until_ready()


async def test_a_connection_that_breaks_ends_its_worker() -> None:
    """And its channel; another start in the same actor has its own."""
    actor = WorkerActor(gateway.__version__)
    async with started(actor) as worker:
        await worker.until_ready()
        worker.far.abort()
        assert await worker.carried == 0
        await worker.until_end()
    async with started(actor, 2) as successor:
        await successor.until_ready()
        assert successor.pid != worker.pid


async def test_a_worker_that_stays_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "STOP_S", 0.05)
    async with started(WorkerActor(gateway.__version__)) as worker:
        await worker.until_ready()
        freeze(worker.pid)
        worker.gateway.shutdown(socket.SHUT_WR)
        assert await worker.carried == -signal.SIGKILL


async def test_an_actor_that_can_not_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts nothing and waits no more; the gateway is told what the driver found."""

    async def unreachable(*_: object) -> asyncio.Transport:
        raise OSError("port 5 of 127.0.0.1 can't be reached: no answer")

    actor = WorkerActor(gateway.__version__)
    with monkeypatch.context() as patch:
        patch.setattr(launching, "connect", unreachable)
        with pytest.raises(
            LaunchRefused, match=r"port 5 of 127\.0\.0\.1 can't be reached: no answer"
        ):
            await launched(actor)
    assert actor._launches == {}
    async with started(actor, 2) as worker:
        await worker.until_ready()


async def test_an_actor_that_can_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    actor = WorkerActor(gateway.__version__)
    with pytest.raises(LaunchRefused, match=r"it can't listen on 127\.0\.0\.1: RAY_USE_TLS is set"):
        await launched(actor)
    assert actor._launches == {}
