"""A Ray cluster of several nodes on this machine: real raylets, actors and sockets."""

import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.server import ForgeServer, eventually, freeze, gone

SMALL_STORE = 80 << 20
"""Bytes of each node's object store, the least that Ray takes; nothing of Forge is in it."""


class RayNodes:
    """A head without CPUs, for the gateway's driver, and nodes that workers run on."""

    def __init__(self, kept: Path | None = None) -> None:
        """``kept``: a folder in which the control service keeps its state; None: in its memory."""
        from ray.cluster_utils import Cluster  # late: it takes a second, and an extra

        head: dict[str, Any] = {
            "num_cpus": 0, "include_dashboard": False, "object_store_memory": SMALL_STORE,
        }  # fmt: skip
        if kept is not None:
            head["_system_config"] = {"gcs_storage": "rocksdb", "gcs_storage_path": str(kept)}
        self._head = head
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

    def drain(self, name: str, seconds: int) -> None:
        """Announce the end of a node, as a cloud that takes it back does."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node"]
        asked = {
            "address": self.address, "node-id": self._nodes[name].node_id,
            "reason": "DRAIN_NODE_REASON_PREEMPTION", "reason-message": "a test",
            "deadline-remaining-seconds": str(seconds),
        }  # fmt: skip
        options = [f"--{option}={value}" for option, value in asked.items()]
        subprocess.run([*command, *options], check=True, capture_output=True)

    def kill_control(self) -> None:
        """Kill the control service, by SIGKILL."""
        self._cluster.head_node.kill_gcs_server()

    def start_control(self) -> None:
        """Start it again, with the state that it kept."""
        self._cluster.head_node.start_gcs_server()

    def restart_head(self) -> None:
        """Kill all processes of the head, and start it again with the state that it kept."""
        port = int(self.address.rpartition(":")[2])
        self._cluster.remove_node(self._cluster.head_node, allow_graceful=False)
        self._cluster.add_node(**self._head, gcs_server_port=port)

    @property
    def logs(self) -> Path:
        """Return the folder with the logs of all of Ray's processes."""
        return Path(self._cluster.head_node.get_logs_dir_path())

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
def ray_nodes(*names: str, kept: Path | None = None) -> Iterator[RayNodes]:
    """Nodes of one CPU each; ``kept``: see :class:`RayNodes`."""
    nodes = RayNodes(kept)
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


LISTEN, ESTABLISHED = "0A", "01"
"""States of /proc/net/tcp."""
PIDFD_GETFD = 438
"""The number of the call on all of Linux's machines."""


def cut(driver: int, actor: int) -> None:
    """Shut the connection of a worker's bytes, from outside: both sides see an end.

    Ray's own connections between the two go to a port that one of them listens on.
    """
    ours, theirs = sockets_of(driver), sockets_of(actor)
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    own = [(row[1], row[2], row[3], row[9]) for row in rows if row[9] in ours | theirs]
    ports = {local.partition(":")[2] for local, _, state, _ in own if state == LISTEN}
    joined = [
        (local, remote, inode)
        for local, remote, state, inode in own
        if state == ESTABLISHED and not {local[-4:], remote[-4:]} & ports
    ]
    backwards = {(remote, local) for local, remote, inode in joined if inode in theirs}
    (found,) = (
        ours[inode]
        for local, remote, inode in joined
        if inode in ours and (local, remote) in backwards
    )
    process = os.pidfd_open(driver)
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, found, 0)
    os.close(process)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "the driver's descriptor can't be had")
    with socket.socket(fileno=descriptor) as sock:
        sock.shutdown(socket.SHUT_RDWR)


def sockets_of(pid: int) -> dict[str, int]:
    """Return the descriptors of a process that are sockets, by their inodes."""
    found = {}
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if inode := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(each)):
                found[inode[1]] = int(each.name)
    return found


def kill(pid: int) -> None:
    """Kill a process, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gone(pid), f"process {pid} ends")
