"""Entry of a worker process on a node: ``python -m gateway.pool.cluster.enter DESCRIPTOR``.

The descriptor is its end of a socketpair, whose first frame is the specification.
"""

import socket
import sys

import msgspec

from gateway.pool.entry import engine
from gateway.system import log_setup
from workers.protocol import WorkerSpec


def main(descriptor: int) -> None:
    """Read the specification, and serve."""
    sock = socket.socket(fileno=descriptor)
    size = int.from_bytes(sock.recv(4, socket.MSG_WAITALL), "big")
    spec = msgspec.msgpack.decode(sock.recv(size, socket.MSG_WAITALL), type=WorkerSpec)
    log_setup.configure(spec.log_level, spec.log_format, "worker %(process)d")
    engine(sock, spec)


if __name__ == "__main__":
    main(int(sys.argv[1]))
