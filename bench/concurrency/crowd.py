"""`python -m bench.concurrency.crowd URL NUMBER`: clients who ask once, and wait.

The body of their requests is the first line of standard input. When all have asked, it says how
many of them the server does not keep; they wait until the process is killed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast
from urllib.parse import urlsplit

import uvloop

from gateway.http.open_files import connections_allowed

STEP = 100
"""Connections that are opened at once: fewer than any backlog of a listener."""
SETTLE_S = 1.0
PATIENCE_S = 30


class Client(asyncio.Protocol):
    """Asks, and notes if it is not kept waiting: an answer counts as well as a hang-up."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.kept = False
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.WriteTransport, transport).write(self._request)  # uvloop's are of no class
        self.kept = True

    def data_received(self, data: bytes) -> None:
        self.kept &= self._answered or data.startswith(b"HTTP/1.1 200")
        self._answered = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.kept = False


async def gather(url: str, number: int, body: bytes) -> list[Client]:
    """All of them, some at a time."""
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    head = b"POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    head = head % address.path.encode() + b"Content-Length: %d\r\n\r\n" % len(body)
    loop, clients = asyncio.get_running_loop(), [Client(head + body) for _ in range(number)]

    async def connect(client: Client) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await loop.create_connection(lambda: client, host, port)
        except (OSError, TimeoutError):
            client.kept = False

    for at in range(0, number, STEP):
        await asyncio.gather(*(connect(client) for client in clients[at : at + STEP]))
    await asyncio.sleep(SETTLE_S)
    return clients


async def main(url: str, number: int) -> None:
    clients = await gather(url, number, sys.stdin.buffer.readline().rstrip(b"\n"))
    print(sum(not client.kept for client in clients), flush=True)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    connections_allowed(int(sys.argv[2]))
    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main(sys.argv[1], int(sys.argv[2])))
