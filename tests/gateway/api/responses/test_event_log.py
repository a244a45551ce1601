"""The log of a response, for readers that come late, slowly or again."""

import asyncio
from typing import Any, cast

from gateway.api.responses.event_log import PIECE, EventLog, frame


def events(count: int, size: int) -> list[Any]:
    return [
        cast(Any, {"type": "response.x", "sequence_number": n, "text": "x" * size})
        for n in range(count)
    ]


def read(log: EventLog, after: int = -1) -> list[bytes]:
    async def all_pieces() -> list[bytes]:
        return [piece async for piece in log.follow(after, 10)]

    return asyncio.run(all_pieces())


def test_a_reader_holds_a_piece_of_a_log_not_all_of_it() -> None:
    """The log is there once; what each of many slow readers has of it adds up."""
    for count, size in ((10, 1000), (300, 10_000), (5, 2 * PIECE)):
        told, log = events(count, size), EventLog()
        log.add(told)
        log.close()
        frames = [*map(frame, told)]
        pieces = read(log)
        assert b"".join(pieces) == b"".join(frames)
        assert max(map(len, pieces)) < PIECE + len(frames[0])
        assert b"".join(read(log, 3)) == b"".join(frames[4:])
        assert log.size == sum(map(len, frames))
