"""Each kind of process of a cluster is killed, and a connection is cut, while 16 streams run: texts
equal their twins."""

from collections.abc import Callable

import pytest

from tests.cluster.conftest import StartOnNodes
from tests.e2e.test_same_text import PROMPTS, alone
from tests.support.killing import SAMPLED, whole
from tests.support.ray_nodes import RayNodes, cut, driver_of, kill, parent
from tests.support.server import ForgeServer, eventually, gone
from tests.support.traffic import Streaming

pytestmark = [pytest.mark.usefixtures("unmeasured"), pytest.mark.timeout(300)]

Blow = Callable[[ForgeServer, RayNodes], None]


def at_worker(server: ForgeServer, nodes: RayNodes) -> None:
    kill(server.workers()[0]["pid"])


def at_actor(server: ForgeServer, nodes: RayNodes) -> None:
    """Its worker dies with it."""
    worker = server.workers()[1]["pid"]
    kill(parent(worker))
    eventually(lambda: gone(worker), "the worker ends with its actor")


def at_connection(server: ForgeServer, nodes: RayNodes) -> None:
    """The network forgets a connection; the worker at its other end is of no use any more."""
    worker = server.workers()[1]["pid"]
    cut(driver_of(server), parent(worker))
    eventually(lambda: gone(worker), "the worker ends with its connection")


def at_raylet(server: ForgeServer, nodes: RayNodes) -> None:
    """Actors on its node end with it; the node comes back under another name."""
    victim = server.workers()[2]
    nodes.kill_raylet(victim["node"])
    eventually(lambda: gone(victim["pid"]), "the worker ends with its node")
    nodes.add("instead")


def at_node(server: ForgeServer, nodes: RayNodes) -> None:
    nodes.remove(server.workers()[0]["node"])
    nodes.add("instead")


def at_standing_node(server: ForgeServer, nodes: RayNodes) -> None:
    """Its raylet, actor and worker stand still. That is noticed by what does not come."""
    victim = server.workers()[0]
    nodes.freeze(victim["node"], parent(victim["pid"]), victim["pid"])
    nodes.add("instead")


def at_driver(server: ForgeServer, nodes: RayNodes) -> None:
    """All workers end with it, and all start again once another has joined."""
    kill(driver_of(server))


BLOWS = [at_worker, at_actor, at_connection, at_raylet, at_node, at_standing_node, at_driver]


@pytest.mark.parametrize("blow", BLOWS)
def test_streams_survive(start_on_nodes: StartOnNodes, nodes: RayNodes, blow: Blow) -> None:
    server = start_on_nodes(3, 6, "--stuck-timeout", "25")
    expected = [alone(server, prompt, **SAMPLED) for prompt in PROMPTS]
    streams = [Streaming(server, prompt, **SAMPLED) for prompt in PROMPTS]
    for stream in streams:
        stream.wait_for(20)
    blow(server, nodes)
    assert [whole(stream) for stream in streams] == expected

    def restored() -> bool:
        workers = server.workers()
        return all(each["state"] == "ready" for each in workers) and server.busy() == 0

    eventually(restored, "all workers serve again")
    restarts = sum(worker["restarts"] for worker in server.workers())
    assert restarts >= (3 if blow is at_driver else 1)
    server.stop()


def test_nodes_come_and_go(start_on_nodes: StartOnNodes, nodes: RayNodes) -> None:
    server = start_on_nodes(3, 6)
    expected = [alone(server, prompt, **SAMPLED) for prompt in PROMPTS]
    streams = [Streaming(server, prompt, **SAMPLED) for prompt in PROMPTS]
    for name in ("four", "five"):
        for stream in streams:
            stream.wait_for(20)
        nodes.add(name)
        nodes.remove(next(each["node"] for each in server.workers() if each["busy"]))
    assert [whole(stream) for stream in streams] == expected
    server.stop()


def test_the_gateways_death_ends_its_workers(start_on_nodes: StartOnNodes) -> None:
    server = start_on_nodes(3, 2)
    workers = server.pids()
    processes = [*workers, *map(parent, workers), driver_of(server)]
    kill(server.process.pid)
    for process in processes:
        eventually(lambda pid=process: gone(pid), f"process {process} ends")  # type: ignore[misc]
    again = start_on_nodes(3, 2)
    assert all(worker["restarts"] == 0 for worker in again.workers())
    again.stop()
