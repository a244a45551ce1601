"""The bytes of a body as they come: bounded in size, in silence and in time."""

import asyncio
import re
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from gateway.config.server_options import MIN_UPLOAD_RATE
from gateway.core.errors import BodyTimeout, BodyTooLarge
from gateway.media.room import MediaLease


async def receive(
    request: Request,
    limit: int,
    timeout: float,
    lease: MediaLease | None = None,
) -> bytearray:
    """Return all bytes of the body, ``limit`` at most, if they come in time.

    ``lease``: its share of the memory for large bodies. Raises Unavailable, too, if that ends.
    """
    too_large = BodyTooLarge(f"the body is larger than the {limit} bytes this server takes")
    declared = check_length(request, limit, too_large)
    if lease is not None:
        lease.check(declared)
    data = bytearray()
    clock = asyncio.get_running_loop().time
    start = clock()
    try:
        async with asyncio.timeout_at(start + timeout) as late:
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                data += message.get("body", b"")
                if len(data) > limit:
                    raise too_large
                if lease is not None:
                    lease.cover(len(data))
                if not message.get("more_body", False):
                    break
                late.reschedule(upload_deadline(start, clock(), len(data), timeout))
    except TimeoutError:
        raise _too_slow(len(data), clock() - start, timeout) from None
    return data


async def pieces(
    request: Request, limit: int, timeout: float, too_large: BodyTooLarge
) -> AsyncIterator[bytes]:
    """Yield a body as it comes, ``limit`` bytes at most, if it comes in time.

    The client's connection waits as long as the caller is at work on a piece.
    """
    check_length(request, limit, too_large)
    clock = asyncio.get_running_loop().time
    start, received = clock(), 0
    deadline = start + timeout
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                message = await request.receive()
        except TimeoutError:
            raise _too_slow(received, clock() - start, timeout) from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece = message.get("body", b"")
        received += len(piece)
        if received > limit:
            raise too_large
        if piece:
            yield piece
        if not message.get("more_body", False):
            return
        deadline = upload_deadline(start, clock(), received, timeout)


def check_length(request: Request, limit: int, too_large: BodyTooLarge) -> int:
    """Return the bytes that the body is said to have; 0: it does not say it.

    Raises ``too_large`` if that is too much.
    """
    declared = request.headers.get("content-length", "")
    # Python refuses to read thousands of digits.
    if not re.fullmatch("[0-9]+", declared):
        return 0
    if len(declared) > 18 or int(declared) > limit:
        raise too_large
    return int(declared)


def _too_slow(received: int, seconds: float, timeout: float) -> BodyTimeout:
    return BodyTimeout(
        f"the body is too slow: {received} bytes in {seconds:.1f} seconds; the next "
        f"may take {timeout:g}, and after as many the average is {MIN_UPLOAD_RATE} a second"
    )


def upload_deadline(start: float, now: float, received: int, timeout: float) -> float:
    """Return when a body is too late, of which ``received`` bytes came from ``start`` to ``now``.

    After a silence of ``timeout`` seconds, or when the whole, after as many seconds to begin with,
    fell behind MIN_UPLOAD_RATE: a byte now and then would keep the connection for ever.
    """
    return min(now + timeout, start + timeout + received / MIN_UPLOAD_RATE)
