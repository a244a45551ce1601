"""A pool in a cluster whose driver starts the workers beside itself: real workers, no Ray."""

import asyncio
import logging
import os
import re
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config.config import EMBEDDED_MODEL, Config
from gateway.pool import Download, Listener, PoolFailed, scaling, supervisor
from gateway.pool.cluster import membership
from gateway.pool.cluster import pool as cluster_pool
from gateway.pool.cluster.control import Need, PlacesCounted, WorkerLeaving
from gateway.pool.cluster.membership import Cluster
from gateway.pool.cluster.pool import ClusterPool
from gateway.pool.scaling import Demand
from gateway.served.adapter_files import opened
from tests.support.adapters import random_lora
from tests.support.server import DEADLINE_S
from workers.protocol import (
    Delta,
    Event,
    Finished,
    Generate,
    GenerationParams,
    Sampling,
    Text,
    TraceParent,
)

DRIVER = "tests.support.fake_driver"


class Heard:
    """Implements :class:`gateway.pool.Listener`."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.lost: list[int] = []
        self.trouble = ""
        self._happened = asyncio.Event()

    async def until(self, check: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not check():
                self._happened.clear()
                await self._happened.wait()

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        self._happened.set()

    def on_lost(self, ids: Sequence[int]) -> None:
        self.lost += ids
        self._happened.set()

    def on_credit(self) -> None:
        self._happened.set()

    def on_violation(self, what: str) -> None:
        raise AssertionError(what)

    def on_trouble(self, reason: str) -> None:
        self.trouble = reason
        self._happened.set()


def with_pool(
    address: str,
    workers: int,
    script: Callable[[ClusterPool, Heard, Cluster], Awaitable[None]],
    model: Path = EMBEDDED_MODEL,
    **more: Any,
) -> None:
    """Run ``script`` on a pool that is not started yet."""

    async def main() -> None:
        cluster = Cluster(address, "warning", "console", DRIVER)
        config = Config(slots=2, threads=1, workers=workers, log_level="info", model=model)
        need = Need(cpus=1, labels={"region": "a"})
        pool = ClusterPool(
            config.worker_spec(), workers, cluster, need, silence_s=30, step_s=60, **more
        )
        try:
            await script(pool, Heard(), cluster)
        finally:
            await pool.stop()
            await cluster.stop()

    asyncio.run(main())


def request(id_: int, tokens: int, *resume: int, attempt: int = 1) -> Generate:
    params = GenerationParams(Sampling(temperature=0.0, seed=1), max_tokens=tokens, ignore_eos=True)
    return Generate(id_, attempt, Text("hello"), params, 0.0, resume=list(resume))


def tokens_of(heard: Heard, id_: int) -> list[int]:
    events = (each for each in heard.events if isinstance(each, Delta | Finished))
    return [token for each in events if each.id == id_ for token in each.ids]


def test_generations_and_the_drivers_death() -> None:
    async def script(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        await pool.start(heard)
        assert pool.model is not None
        pool.submit(request(1, 40))
        await heard.until(lambda: any(isinstance(each, Finished) for each in heard.events))
        whole = tokens_of(heard, 1)
        assert len(whole) == 40

        pool.submit(request(2, 2000))
        await heard.until(lambda: len(tokens_of(heard, 2)) >= 10)
        (status,) = pool.workers()
        assert status.node is not None
        assert (status.state, status.address) == ("ready", "10.0.0.1")
        assert status.pid is not None
        os.kill(_parent(status.pid), signal.SIGKILL)
        await heard.until(lambda: heard.lost == [2])
        await heard.until(pool.ready)
        assert pool.workers()[0].restarts == 1
        pool.submit(request(3, 40, *whole[:20], attempt=2))
        await heard.until(lambda: len(tokens_of(heard, 3)) == 20)
        assert tokens_of(heard, 3) == whole[20:]

    with_pool("here:1", 1, script)


def test_a_trace_crosses_with_its_request(capfd: pytest.CaptureFixture[str]) -> None:
    """As bytes, on the channel of the worker, which logs the trace; its node is known, too."""
    trace = TraceParent("00-" + "ab" * 16 + "-" + "cd" * 8 + "-01", "vendor=1")

    async def script(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        await pool.start(heard)
        for each in (request(1, 2), msgspec.structs.replace(request(2, 2), trace=trace)):
            worker = pool.submit(each)
        (status,) = pool.workers()
        assert status.node is not None
        assert pool.node(worker) == status.node
        await heard.until(lambda: sum(isinstance(e, Finished) for e in heard.events) == 2)

    with_pool("here:1", 1, script)
    (line,) = (e for e in capfd.readouterr().err.splitlines() if "takes a traced generation" in e)
    assert "ab" * 16 in line
    assert "cd" * 8 in line


def test_a_worker_that_is_killed() -> None:
    async def script(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        await pool.start(heard)
        (status,) = pool.workers()
        assert status.pid is not None
        os.kill(status.pid, signal.SIGKILL)
        await heard.until(lambda: not pool.ready())
        await heard.until(pool.ready)
        assert pool.workers()[0].restarts == 1

    with_pool("here:1", 1, script)


def test_a_cluster_that_cant_be_joined() -> None:
    async def script(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        with pytest.raises(PoolFailed, match="the cluster can't be joined: no such host"):
            await pool.start(heard)

    with_pool("nowhere:1", 1, script)


def test_no_room(caplog: pytest.LogCaptureFixture) -> None:
    """The pool can be stopped while its workers wait for a node."""

    async def script(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        starting = asyncio.create_task(pool.start(heard))
        await told(caplog, "waits for a node with 1 CPU, region=a")
        await until(lambda: [each.state for each in pool.workers()] == ["starting"])
        starting.cancel()

    with caplog.at_level(logging.WARNING, "forge.pool"):
        with_pool("full:1", 1, script)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes without the model's files are tried again at once."""
    monkeypatch.setattr(supervisor, "LACKING_S", 0.0)
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 0.01)


@pytest.mark.usefixtures("impatient")
def test_another_file_on_another_node(caplog: pytest.LogCaptureFixture) -> None:
    """No worker of another model than the gateway's is taken for a part of the pool.

    Unless one was ready the server does not start, once each was tried again and again.
    """

    async def script(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        with pytest.raises(
            PoolFailed, match=r"on node-\d is another than on the gateway's machine"
        ):
            await pool.start(heard)
        assert not pool.ready()

    with_pool("differs:1", 2, script)


@pytest.mark.usefixtures("impatient")
def test_another_file_where_the_gateway_has_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Then the first worker's is what all must have."""

    async def script(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        with pytest.raises(PoolFailed):
            await pool.start(heard)

    with_pool("differs:1", 2, script, model=tmp_path / "gone.gguf")
    assert re.search(r"on node-\d is another than on node-\d", caplog.text)


def test_a_file_that_comes_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def script(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        starting = asyncio.create_task(pool.start(heard))
        await until(lambda: pool.workers()[0].download)
        (status,) = pool.workers()
        assert (status.state, status.node) == ("starting", "node-1")
        assert status.download == Download("m.gguf", 3 << 20, 7 << 20)
        starting.cancel()

    with caplog.at_level(logging.INFO, "forge.pool"):
        with_pool("fetches:1", 1, script)
    assert "worker 0: node node-1 gets m.gguf: 3.0 MiB of 7.0 MiB" in caplog.text


@pytest.mark.usefixtures("impatient")
def test_nodes_that_cant_get_the_file(caplog: pytest.LogCaptureFixture) -> None:
    """Another serves meanwhile, and they are tried again."""

    async def served(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        await pool.start(heard)
        await heard.until(lambda: pool.free() == 2 * 2)
        assert sum(each.restarts for each in pool.workers()) == 3
        assert [each.download for each in pool.workers()] == [None, None]
        assert heard.trouble == ""

    async def failed(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        with pytest.raises(PoolFailed, match=r"can't be started: m\.gguf: no such file"):
            await pool.start(heard)

    with_pool("lacks:3", 2, served)
    assert caplog.text.count("a worker can't be started: m.gguf: no such file; restarting") == 3
    with_pool("lacks:9", 2, failed)


def test_held_it_leaves_its_size_to_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second pool of the cluster has workers of its own meanwhile: so a model is replaced."""
    monkeypatch.setattr(cluster_pool, "SCALE_S", 0.01)
    looks = 0

    def demand(_: Listener) -> Demand:
        nonlocal looks
        looks += 1
        return Demand(0, 0.0)

    async def script(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        await pool.start(heard)
        await heard.until(lambda: pool.free() == 2 * 2)
        await until(lambda: looks)
        await pool.hold()
        assert (pool.size, pool.capacity) == (2, 2)
        await pool.shrink()
        looks_before = looks
        other = ClusterPool(
            Config(slots=2, threads=1).worker_spec(), 2, cluster, Need(cpus=1), silence_s=30,
            step_s=60, first=4,
        )  # fmt: skip
        try:
            other.begin_with(1)
            await other.start(Heard())
            assert [each.id for each in other.workers()] == [4]
            assert (pool.size, looks) == (1, looks_before)
        finally:
            await other.stop()
        assert pool.ready(), "its worker is none of the other's"
        pool.resume()
        await heard.until(lambda: pool.free() == 2 * 2)
        await until(lambda: looks > looks_before)

    with_pool("here:1", 2, script, most=4, demand=demand)


def test_it_grows_and_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_pool, "SCALE_S", 0.05)
    monkeypatch.setattr(scaling, "IDLE_S", 0.5)
    waiting = Demand(1, scaling.GROW_S)

    async def script(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        nonlocal waiting
        await pool.start(heard)
        await heard.until(lambda: pool.free() == 3 * 2)
        assert [each.id for each in pool.workers()] == [0, 1, 2], "no more than three"
        waiting = Demand(0, 0.0)
        await until(lambda: len(pool.workers()) == 1)
        assert pool.free() == 2
        assert heard.lost == []

    with_pool("here:1", 1, script, most=3, demand=lambda _: waiting)


@pytest.mark.parametrize("left_s", [3600.0, 0.0])
def test_a_node_that_goes_away_is_emptied(left_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its work ends there if there is time, or goes on elsewhere; nothing new comes."""
    monkeypatch.setattr(cluster_pool, "SCALE_S", 0.05)

    async def script(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        await pool.start(heard)
        pool.submit(request(1, 400))
        await heard.until(lambda: tokens_of(heard, 1))
        process = pool._workers[0].process
        assert isinstance(process, cluster_pool.RemoteProcess)
        process.on_control(WorkerLeaving(1, left_s))
        await heard.until(lambda: pool.workers()[0].restarts == 1 and pool.free() == 2)
        assert heard.lost == ([] if left_s else [1])
        assert len(tokens_of(heard, 1)) == 400 or not left_s

    with_pool("here:1", 1, script)


def test_a_node_that_is_lost_before_its_worker_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no wrong setting, unless it happens again and again."""
    monkeypatch.setattr(cluster_pool, "LOST_S", 0.01)

    async def served(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        await pool.start(heard)
        assert pool.ready()

    async def failed(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        with pytest.raises(PoolFailed, match="its node was lost before it ran"):
            await pool.start(heard)

    with caplog.at_level(logging.WARNING, "forge.pool"):
        with_pool("loses:2", 1, served)
    assert caplog.text.count("its node was lost before it ran; it is started again") == 2
    with_pool("loses:9", 1, failed)


def test_places_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that does not answer has none; its late answer does no harm."""
    monkeypatch.setattr(membership, "PLACES_S", 0.1)

    async def script(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        assert await pool.places(Need(cpus=1)) == 0, "there is no driver yet"
        await pool.start(heard)
        monkeypatch.setattr(membership, "PLACES_S", DEADLINE_S)
        assert await pool.places(Need(cpus=1)) == 3
        monkeypatch.setattr(membership, "PLACES_S", 0.01)
        assert await pool.places(Need(cpus=100)) == 0
        driver = cluster._driver
        assert driver is not None
        cluster.hear(driver, PlacesCounted(3, 1))

    with_pool("here:1", 1, script)


def test_adapters_are_known_by_their_contents(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Their times differ on each node. A worker whose node has another file is not used."""
    path = random_lora(EMBEDDED_MODEL, 0).write(tmp_path / "a.gguf")
    found, data = opened(path, EMBEDDED_MODEL, 0), path.read_bytes()

    async def script(pool: ClusterPool, heard: Heard, cluster: Cluster) -> None:
        await pool.start(heard)
        os.utime(path, (1, 1))
        await pool.adapt([found.file])
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        (status,) = pool.workers()
        assert status.pid is not None
        os.kill(status.pid, signal.SIGKILL)
        await told(caplog, "it is another than the gateway's")
        await told(caplog, "worker 0 on node node-2 is not used")
        assert pool.free() == 0
        path.write_bytes(data)
        await heard.until(lambda: pool.free() == 2)

    with caplog.at_level(logging.ERROR, "forge.pool"):
        with_pool("here:1", 1, script)
    found.close()


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not check():  # noqa: ASYNC110 (a status has no event to wait for)
            await asyncio.sleep(0.01)


async def told(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Wait until the log has it."""
    await until(lambda: text in caplog.text)


def _parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])
