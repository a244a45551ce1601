"""`python -m bench.gateway.client ask|stream URL CONNECTIONS AMOUNT [--pause S]`: load.

*ask*: each connection sends its next request when the last is answered and a pause is over, for
AMOUNT seconds. *stream*: each connection reads one stream of AMOUNT tokens. The request's body
comes on standard input; the result goes to standard output as JSON, and before it `open`, when all
streams are. It does as little as it can for each byte: its own limits must not hide the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from bench.overload.measure import percentile
from gateway.http.open_files import connections_allowed

STEP = 100
"""Connections that are opened at once: fewer than any backlog of a listener."""
PATIENCE_S = 300
LENGTH = b"content-length: "
EVENT = b"\ndata: "
DONE = b"data: [DONE]\n\n"


class Found(msgspec.Struct, frozen=True):
    """The figures of a run. Times in milliseconds, of whole requests (*ask*)."""

    answered: int
    """Requests, or tokens."""
    failed: int
    """Connections that saw anything but what they should."""
    seconds: float
    p50: float = 0.0
    p99: float = 0.0


class Client(asyncio.Protocol):
    """One keep-alive connection; every answer has a Content-Length."""

    def __init__(self, request: bytes, pause: float) -> None:
        """``pause``: seconds between an answer and the next request."""
        self._request = request
        self._pause = pause
        self._until = 0.0
        self._transport: asyncio.WriteTransport | None = None
        self._missing = 0
        """Bytes of the answer that are still to come."""
        self._sent_at = 0.0
        self.times: list[float] = []
        self.ended = asyncio.get_running_loop().create_future()
        """Result: whether all was well."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are of no class

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(False)

    def start(self, seconds: float, wait: float) -> None:
        """Ask for so many seconds, from ``wait`` on."""
        self._until = time.perf_counter() + seconds
        asyncio.get_running_loop().call_later(wait, self._ask)

    def _ask(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            self._missing = self._size(data)
        self._missing -= len(data)
        if self._missing or self.ended.done():
            return
        now = time.perf_counter()
        self.times.append((now - self._sent_at) * 1000)
        if now + self._pause > self._until:
            self._end(True)
        elif self._pause:
            asyncio.get_running_loop().call_later(self._pause, self._ask)
        else:
            self._ask()

    def _size(self, data: bytes) -> int:
        """Bytes of the whole answer. Its head comes in one piece."""
        head = data.find(b"\r\n\r\n")
        at = data[: max(head, 0)].lower().find(LENGTH)  # its case is the server's choice
        if at < 0 or not data.startswith(b"HTTP/1.1 200"):
            self._end(False)
            return len(data)
        return head + 4 + int(data[at + len(LENGTH) : data.index(b"\r", at)])

    def _end(self, good: bool) -> None:
        if not self.ended.done():
            self.ended.set_result(good)


class Reader(asyncio.Protocol):
    """One stream from its request to its end; events are counted, not read."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._tail = b""
        self._events = 0
        self.first = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()
        """Result: the number of events."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.WriteTransport, transport).write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def data_received(self, data: bytes) -> None:
        seen = self._tail + data
        self._events += seen.count(EVENT) - self._tail.count(EVENT)
        self._tail = seen[-len(DONE) - 10 :]
        if not self.first.done():
            self.first.set_result(None)
        if DONE in self._tail:
            self._end()

    def _end(self) -> None:
        for future in (self.first, self.ended):
            if not future.done():
                future.set_result(self._events)


async def ask(url: str, connections: int, seconds: float, pause: float, body: bytes) -> Found:
    """Closed loop. All connections are there before the first asks."""
    host, port, request = _target(url, body)
    loop, clients = asyncio.get_running_loop(), list[Client]()
    for _ in range(connections):
        pair = await loop.create_connection(lambda: Client(request, pause), host, port)
        clients.append(pair[1])
    start = time.perf_counter()
    for at, client in enumerate(clients):
        client.start(seconds, pause * at / connections)
    good = await asyncio.gather(*(client.ended for client in clients))
    took = time.perf_counter() - start
    times = [each for client in clients for each in client.times]
    return Found(
        len(times), good.count(False), took, percentile(times, 0.5), percentile(times, 0.99)
    )


async def stream(url: str, connections: int, tokens: int, body: bytes) -> Found:
    """All streams at once; a chat of so many tokens has that many events, a first and two last."""
    host, port, request = _target(url, body)
    loop, readers = asyncio.get_running_loop(), list[Reader]()
    start = time.perf_counter()
    while len(readers) < connections:
        step = range(min(STEP, connections - len(readers)))
        pairs = await asyncio.gather(
            *(loop.create_connection(lambda: Reader(request), host, port) for _ in step)
        )
        readers += [reader for _, reader in pairs]
        await asyncio.gather(*(reader.first for reader in readers[-len(step) :]))
    print("open", flush=True)
    events = await asyncio.gather(*(reader.ended for reader in readers))
    took = time.perf_counter() - start
    return Found(connections * tokens, sum(n != tokens + 3 for n in events), took)


def _target(url: str, body: bytes) -> tuple[str, int, bytes]:
    """Host, port, and the whole request."""
    address = urlsplit(url)
    head = b"POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    head = head % (address.path or "/").encode() + b"Content-Length: %d\r\n\r\n" % len(body)
    return address.hostname or "", address.port or 80, head + body


async def _run(args: argparse.Namespace, body: bytes) -> Found:
    async with asyncio.timeout(PATIENCE_S):
        if args.kind == "ask":
            return await ask(args.url, args.connections, args.amount, args.pause, body)
        return await stream(args.url, args.connections, int(args.amount), body)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway.client")
    parser.add_argument("kind", choices=("ask", "stream"))
    parser.add_argument("url")
    parser.add_argument("connections", type=int)
    parser.add_argument("amount", type=float)
    parser.add_argument("--pause", type=float, default=0.0)
    args = parser.parse_args()
    connections_allowed(args.connections)
    body = sys.stdin.buffer.read()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(_run(args, body))
    print(msgspec.json.encode(found).decode(), flush=True)


if __name__ == "__main__":
    main()
