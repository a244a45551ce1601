"""A Ray cluster of several nodes on this machine: real raylets, actors and sockets."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.server import ForgeServer, eventually, freeze, gone

SMALL_STORE = 80 << 20
"""Bytes of each node's object store, the least that Ray takes; nothing of Forge is in it."""


class RayNodes:
    """A head without CPUs, for the gateway's driver, and nodes that workers run on."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster  # late: it takes a second, and an extra

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": SMALL_STORE}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes: dict[str, Any] = {}
        self._frozen: list[int] = []

    @property
    def address(self) -> str:
        """Return the address of the control service."""
        address: str = self._cluster.address
        return address

    def add(self, name: str, cpus: int = 1, **more: Any) -> None:
        """Start a node, and wait until the cluster has it."""
        self._nodes[name] = self._cluster.add_node(
            num_cpus=cpus, node_name=name, object_store_memory=SMALL_STORE, **more
        )

    def remove(self, name: str) -> None:
        """Kill all of a node's processes."""
        self._cluster.remove_node(self._nodes.pop(name), allow_graceful=False)

    def kill_raylet(self, name: str) -> None:
        """Kill a node's raylet alone, by SIGKILL; its workers' actors end by themselves."""
        (found,) = self._nodes[name].all_processes["raylet"]
        found.process.send_signal(signal.SIGKILL)
        found.process.wait()

    def freeze(self, name: str, *others: int) -> None:
        """Stop a node's raylet and other processes there: it stands still and does not die."""
        (found,) = self._nodes[name].all_processes["raylet"]
        self._frozen += [found.process.pid, *others]
        freeze(*self._frozen)

    @property
    def names(self) -> set[str]:
        """Return the names of the nodes that were added and not removed."""
        return set(self._nodes)

    def stop(self) -> None:
        self._cluster.shutdown()
        for pid in self._frozen:  # an actor must run to see that its raylet is gone
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def ray_nodes(*names: str) -> Iterator[RayNodes]:
    """Nodes of one CPU each."""
    nodes = RayNodes()
    try:
        for name in names:
            nodes.add(name)
        yield nodes
    finally:
        nodes.stop()


def parent(pid: int) -> int:
    """Return the process that started another: of a worker on a node, its actor."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def driver_of(server: ForgeServer) -> int:
    """Return the child of the gateway that is in the cluster."""
    task = Path(f"/proc/{server.process.pid}/task")
    children = [int(pid) for each in task.glob("*/children") for pid in each.read_text().split()]
    (found,) = (
        pid
        for pid in children
        if b"gateway.pool.cluster.driver" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    return found


def kill(pid: int) -> None:
    """Kill a process, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gone(pid), f"process {pid} ends")
