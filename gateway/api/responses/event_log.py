"""The events of a response as bytes, for readers who come late or come again.

The number of an event is its place in the log: a reader who has seen those up to ``n`` goes on
with the frame ``n + 1``.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable

import orjson

from gateway.api.responses.types import ResponseEvent

PIECE = 256 * 1024
"""Bytes from which on no more frames join a piece: each reader has one of its own in memory."""
END = b"\n\n"
"""The end of a frame, which JSON in one line does not contain."""


def frame(event: ResponseEvent) -> bytes:
    """Return an event as server-sent."""
    return b"event: " + event["type"].encode() + b"\ndata: " + orjson.dumps(event) + END


class EventLog:
    """Written by one task, read by any number of others."""

    def __init__(self) -> None:
        self.size = 0
        """Bytes."""
        self.closed = False
        self._frames: list[bytes] = []
        self._news = asyncio.Event()

    @classmethod
    def read(cls, whole: bytes) -> "EventLog":
        """Return a log that has ended, of what :meth:`whole` returned."""
        log = cls()
        log._frames = [text + END for text in whole.split(END)[:-1]]
        log.size, log.closed = len(whole), True
        return log

    def whole(self) -> bytes:
        """Return all frames."""
        return b"".join(self._frames)

    def add(self, events: Iterable[ResponseEvent]) -> None:
        """Add events, the next ones by number."""
        for event in events:
            assert event["sequence_number"] == len(self._frames), "no event is missing or twice"
            data = frame(event)
            self._frames.append(data)
            self.size += len(data)
        self._wake()

    def close(self) -> None:
        """Note that nothing comes any more."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def follow(self, after: int, patience: float) -> AsyncIterator[bytes]:
        """Yield the frames with larger numbers as they come, and b"" for each silence of so many
        seconds."""
        at = after + 1
        while True:
            if at < len(self._frames):
                piece = self._piece(at)
                at += len(piece)
                yield b"".join(piece)
            elif self.closed:
                return
            else:
                news = self._news
                try:
                    async with asyncio.timeout(patience):
                        await news.wait()
                except TimeoutError:
                    yield b""

    def _piece(self, at: int) -> list[bytes]:
        """Return the next frames from a number on: a slow reader gets fewer, larger pieces."""
        size, end = 0, at
        while end < len(self._frames) and size < PIECE:
            size += len(self._frames[end])
            end += 1
        return self._frames[at:end]
