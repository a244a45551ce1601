"""Bytes carried between a TCP connection and a socket of this machine, in both directions.

Nothing on the way reads them, and a side that does not take them makes the other wait: what lies
here is a read and a write buffer for each direction. When one side ends, the other still gets what
came before, and then its end.
"""

import asyncio
import socket
from typing import cast


class Relay:
    """The two ends: what one reads is written to the other."""

    def __init__(self) -> None:
        self.near = _End()
        self.far = _End()
        self.near.other, self.far.other = self.far, self.near

    async def ended(self) -> None:
        """Return when one of the ends is gone."""
        lost = [asyncio.ensure_future(each.lost.wait()) for each in (self.near, self.far)]
        try:
            await asyncio.wait(lost, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in lost:
                each.cancel()

    async def closed(self) -> None:
        """Return when both are: all that came was handed over."""
        await self.near.lost.wait()
        await self.far.lost.wait()

    def abort(self) -> None:
        """End both, whatever was not handed over."""
        self.near.transport.abort()
        self.far.transport.abort()


class _End(asyncio.Protocol):
    transport: asyncio.Transport
    other: "_End"

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        transport = self.other.transport
        if transport.is_closing():
            return
        # It reads on, for nothing, until it sees its own end: a socket that is closed with unread
        # bytes takes back what it has not delivered. TLS has no half of a close.
        transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()


async def relay(near: socket.socket, far: asyncio.Transport) -> Relay:
    """Carry bytes between a connected socket and a transport that has paused."""
    found = Relay()
    found.far.connection_made(far)
    await asyncio.get_running_loop().create_unix_connection(lambda: found.near, sock=near)
    far.set_protocol(found.far)
    far.resume_reading()
    if far.is_closing():  # its end was told to the protocol that it had
        found.far.connection_lost(None)
    return found
