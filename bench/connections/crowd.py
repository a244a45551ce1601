"""`python -m bench.connections.crowd KIND URL NUMBER`: a process that holds many connections.

It says `open N` as they open and `ready` when all are; told to go on by a line on its standard
input, it makes sure of every one and says `failed N`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Iterable
from typing import Literal, cast
from urllib.parse import urlsplit

import uvloop

from gateway.http.open_files import connections_allowed

Kind = Literal["idle", "streaming"]
STEP = 100
"""Connections that are opened at once: fewer than any backlog of a listener."""
PATIENCE_S = 300
HEALTH = b"GET /health HTTP/1.1\r\nHost: forge\r\n\r\n"
BODY = json.dumps(
    {
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True, "max_tokens": 1, "priority": "batch",
    }
).encode()  # fmt: skip
CHAT = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: forge\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    + BODY
)


class Member(asyncio.Protocol):
    """One connection; what it was sent is looked at and forgotten."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._wanted = b""
        self._seen = b""
        self._found: asyncio.Future[bool] | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are of no class

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._tell(False)

    def data_received(self, data: bytes) -> None:
        self._refused |= data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 200")
        self._seen = self._seen[-len(self._wanted) :] + data
        if self._wanted in self._seen:
            self._tell(not self._refused)

    def send(self, request: bytes) -> None:
        """Ask for something."""
        if self._transport is not None:
            self._transport.write(request)

    async def until(self, wanted: bytes) -> bool:
        """Return whether ``wanted`` comes from now on; False as soon as it can't."""
        if self._transport is None or self._refused:
            return False
        self._wanted, self._seen = wanted, b""
        self._found = asyncio.get_running_loop().create_future()
        return await self._found

    def _tell(self, found: bool) -> None:
        if self._found is not None and not self._found.done():
            self._found.set_result(found)


async def gather(kind: Kind, url: str, number: int) -> list[Member]:
    """Open all connections, some at a time; returns when the server has answered each."""
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    loop, members = asyncio.get_running_loop(), list[Member]()
    waiting: list[asyncio.Task[bool]] = []
    while len(members) < number:
        step = range(min(STEP, number - len(members)))
        pairs = await asyncio.gather(*(loop.create_connection(Member, host, port) for _ in step))
        fresh = [member for _, member in pairs]
        if kind == "idle":
            await passed(ask(member, HEALTH, b'"ok"') for member in fresh)
        else:  # its headers come when it has waited for a while
            waiting += [asyncio.create_task(ask(m, CHAT, b": waiting")) for m in fresh]
            await asyncio.sleep(0)
        members += fresh
        print("open", len(members), flush=True)
    await asyncio.gather(*waiting)
    return members


async def ask(member: Member, request: bytes, wanted: bytes) -> bool:
    """Return whether the answer holds what is wanted."""
    found = asyncio.ensure_future(member.until(wanted))
    await asyncio.sleep(0)
    member.send(request)
    return await found


async def passed(asked: Iterable[Awaitable[bool]]) -> int:
    """Return the number that came true."""
    return sum(await asyncio.gather(*asked))


async def main(kind: Kind, url: str, number: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        members = await gather(kind, url, number)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    async with asyncio.timeout(PATIENCE_S):
        if kind == "idle":
            good = 0
            for at in range(0, number, STEP):
                some = members[at : at + STEP]
                good += await passed(ask(member, HEALTH, b'"ok"') for member in some)
        else:
            ends = [asyncio.create_task(member.until(b"data: [DONE]")) for member in members]
            await asyncio.sleep(0)  # they all look out now: the first ends come at once
            print("listening", flush=True)
            good = await passed(ends)
    print("failed", number - good, flush=True)


if __name__ == "__main__":
    connections_allowed(int(sys.argv[3]))
    given: Kind = "idle" if sys.argv[1] == "idle" else "streaming"
    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(
        main(given, sys.argv[2], int(sys.argv[3]))
    )
