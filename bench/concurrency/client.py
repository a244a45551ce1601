"""`python -m bench.concurrency.client URL CONNECTIONS SECONDS`: a closed loop for any server.

Each connection asks again as soon as it is answered, and is opened again when the server hangs up.
The request's body comes on standard input, the result goes to standard output as JSON. What a
careful client has to call an error is counted as one: an answer of unknown length, which can't be
told from one that was cut off, and none at all. Where wrk is installed, :mod:`.connections` takes
that instead; it counts the same.
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

RETRY_S = 0.1
SPLIT_S = 0.01
"""Between the two parts of a request that is sent in two."""


class Found(msgspec.Struct, frozen=True):
    """The outcome of a request.

    Times in milliseconds, from the request's first byte to the answer's last; for what was not
    answered in time, they are how long it had been waited for; 0 for nothing.
    """

    seconds: float
    answered: int
    """With 200, completely, and the client knew that."""
    unsure: int
    """With 200, but without a length."""
    refused: int
    """With any other status."""
    broken: int
    """Connections that ended without an answer."""
    waiting: int
    """Requests without an answer at the end."""
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests a second that were answered at all."""
        return (self.answered + self.unsure) / self.seconds

    @property
    def errors(self) -> int:
        return self.unsure + self.refused + self.broken


class Tally:
    """The findings of all connections."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.answered = self.unsure = self.refused = self.broken = 0


class Connection(asyncio.Protocol):
    """One connection, until the server ends it."""

    def __init__(self, request: list[bytes], tally: Tally) -> None:
        """``request`` is sent in as many parts."""
        self._request = request
        self._tally = tally
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self.asked_at: float | None = None
        """Time at which the request that is open began."""
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no class
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self.asked_at, self._data = time.perf_counter(), b""
        first, *rest = self._request
        self._transport.write(first)
        for part in rest:
            asyncio.get_running_loop().call_later(SPLIT_S, self._transport.write, part)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        at = head.lower().find(b"\r\ncontent-length:")
        if not found or at < 0:
            return  # not all of the head is here, or only the end will tell
        if len(body) < int(head[at + 17 :].split(b"\r\n")[0]):
            return
        self._over(known=True)
        assert self._transport is not None
        if b"\r\nconnection: close" in head.lower():
            self._transport.close()
        elif not self._transport.is_closing():
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.asked_at is not None:
            if self._data.partition(b"\r\n\r\n")[1]:
                self._over(known=False)
            else:
                self._tally.broken += 1
                self.asked_at = None
        if not self.closed.done():
            self.closed.set_result(None)

    def _over(self, *, known: bool) -> None:
        assert self.asked_at is not None
        self._tally.times.append((time.perf_counter() - self.asked_at) * 1000)
        self.asked_at = None
        if not self._data.startswith(b"HTTP/1.1 200"):
            self._tally.refused += 1
        elif known:
            self._tally.answered += 1
        else:
            self._tally.unsure += 1

    def stop(self) -> None:
        """Wait no longer for any answer."""
        self.asked_at = None
        if self._transport is not None:
            self._transport.abort()


async def load(url: str, connections: int, seconds: float, body: bytes, parts: int) -> Found:
    """All connections at once, for so long."""
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    head = b"POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    head = head % (address.path or "/").encode() + b"Content-Length: %d\r\n\r\n" % len(body)
    request = [head + body] if parts == 1 else [head, body]
    loop, tally, current = asyncio.get_running_loop(), Tally(), dict[int, Connection]()

    async def client(number: int) -> None:
        while True:
            try:
                made = await loop.create_connection(lambda: Connection(request, tally), host, port)
            except OSError:
                tally.broken += 1
                await asyncio.sleep(RETRY_S)
            else:
                current[number] = made[1]
                await made[1].closed

    start = time.perf_counter()
    clients = [asyncio.create_task(client(number)) for number in range(connections)]
    await asyncio.sleep(seconds)
    took = time.perf_counter() - start
    counts = tally.answered, tally.unsure, tally.refused, tally.broken
    open_ = [c.asked_at for c in current.values() if c.asked_at is not None]
    times = [*tally.times, *((time.perf_counter() - at) * 1000 for at in open_)] or [0.0]
    for task in clients:
        task.cancel()
    for connection in current.values():
        connection.stop()
    await asyncio.gather(*clients, return_exceptions=True)
    return Found(
        took, *counts, connections - len(current) + len(open_),
        percentile(times, 0.5), percentile(times, 0.99),
    )  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.concurrency.client")
    parser.add_argument("url")
    parser.add_argument("connections", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--parts", type=int, choices=(1, 2), default=1)
    args = parser.parse_args()
    connections_allowed(args.connections)
    asked = load(args.url, args.connections, args.seconds, sys.stdin.buffer.read(), args.parts)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(msgspec.json.encode(runner.run(asked)).decode(), flush=True)


if __name__ == "__main__":
    main()
