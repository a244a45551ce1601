"""A cluster's driver without a cluster: it starts the workers beside itself.

``python -m tests.support.fake_driver DESCRIPTOR ADDRESS LEVEL FORMAT``. The address says what goes
wrong: ``nowhere:1`` can't be joined, ``full:1`` has no room, ``differs:1`` has another file on each
node, ``loses:2`` loses the first two, ``lacks:2`` has two nodes that can't get the file at first,
``fetches:1`` never has all of it. What a real one does is in tests/cluster.
"""

import array
import selectors
import socket
import subprocess
import sys

from gateway.pool.cluster.control import (
    Alive,
    CountPlaces,
    FromDriver,
    Joined,
    Kill,
    Leave,
    NotJoined,
    Open,
    PlacesCounted,
    ToDriver,
    WorkerEnded,
    WorkerFetching,
    WorkerRefused,
    WorkerRunning,
    WorkerWaiting,
)
from workers.parent import die_with_parent
from workers.protocol import FrameDecoder, children, encode


class FakeDriver:
    """One descriptor of a channel is one worker's link."""

    def __init__(self, control: socket.socket, address: str) -> None:
        self._control = control
        self._address = address
        self._first = int(address.partition(":")[2])
        self._decoder: FrameDecoder[ToDriver] = FrameDecoder(ToDriver)
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        """By channel."""
        self._channels: dict[int, int] = {}
        """The last of each worker."""

    def tell(self, message: FromDriver) -> None:
        self._control.sendall(encode(message))

    def run(self) -> None:
        """Serve until the gateway is gone."""
        if self._address.startswith("nowhere"):
            self.tell(NotJoined("no such host"))
            return
        self.tell(Joined(1, "0"))
        with selectors.DefaultSelector() as ready:
            ready.register(self._control, selectors.EVENT_READ)
            while True:
                if ready.select(0.05) and not self._read():
                    return
                self.tell(Alive())
                self._reap()

    def _read(self) -> bool:
        try:
            data, ancillary, _, _ = self._control.recvmsg(1 << 16, socket.CMSG_SPACE(64))
        except ConnectionResetError:
            return False
        descriptors = [each for _, _, found in ancillary for each in array.array("i", found)]
        for message in self._decoder.feed(data):
            if isinstance(message, Open):
                self._channels[message.worker] = message.channel
                self._open(message.channel, descriptors.pop(0))
            elif isinstance(message, Leave):
                self._kill(self._channels.get(message.worker, 0))
            elif isinstance(message, Kill):
                self._kill(message.channel)
            elif isinstance(message, CountPlaces) and message.need.cpus < 100:
                free = 0 if self._address.startswith("full") else 3
                self.tell(PlacesCounted(message.question, free))
        return bool(data)

    def _kill(self, channel: int) -> None:
        if channel in self._workers:
            self._workers[channel].kill()

    def _open(self, channel: int, descriptor: int) -> None:
        with socket.socket(fileno=descriptor) as sock:
            if self._address.startswith("full"):
                self.tell(WorkerWaiting(channel))
                return
            if self._address.startswith("loses") and channel <= int(
                self._address.partition(":")[2]
            ):
                self.tell(WorkerEnded(channel, None))
                return
            if not sock.recv(int.from_bytes(sock.recv(4), "big"), socket.MSG_WAITALL):
                return  # it was given up
            if self._address.startswith(("fetches", "lacks")):
                place = channel, f"node-{channel}", "10.0.0.1"
                self.tell(WorkerFetching(*place, "m.gguf", 3 << 20, 7 << 20))
                if self._address.startswith("fetches"):
                    return
            if self._address.startswith("lacks") and channel <= int(
                self._address.partition(":")[2]
            ):
                self.tell(WorkerRefused(channel, "m.gguf: no such file", lacks=True))
                return
            command = children.command("gateway.pool.cluster.enter", str(sock.fileno()))
            found = subprocess.Popen(command, env=children.environment(), pass_fds=[sock.fileno()])
        self._workers[channel] = found
        contents = b"%d" % channel if self._address.startswith("differs") else b""
        self.tell(WorkerRunning(channel, found.pid, f"node-{channel}", "10.0.0.1", contents))

    def _reap(self) -> None:
        for channel, worker in list(self._workers.items()):
            if worker.poll() is not None:
                self.tell(WorkerEnded(channel, worker.returncode))
                del self._workers[channel]


if __name__ == "__main__":
    die_with_parent()
    FakeDriver(socket.socket(fileno=int(sys.argv[1])), sys.argv[2]).run()
