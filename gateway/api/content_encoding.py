"""Request bodies that come compressed, as their Content-Encoding says.

A body of some kilobytes may decode to gigabytes. So no decoder is asked for more than one byte
beyond the limit, whatever its input says of itself, and the limit holds after each of two
encodings. Memory is that of the decoded bytes: zstd's window, 128 MiB at most, is touched as far
as they fill it. Pure; :func:`decoded` computes for milliseconds, so it belongs in a thread.
"""

import sys
import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.core.errors import BadRequest, BodyTooLarge, UnsupportedEncoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ACCEPTED = "gzip, zstd, deflate"
"""The header Accept-Encoding of a refusal."""
PLAIN = ("", "identity", "utf-8", "utf8")
"""Names that change nothing; the last two are charsets, which some programs put here."""
MOST_ENCODINGS = 2
"""Of one body, one around the other."""
MOST_MEMBERS = 4096
"""Parts of one gzip or zstd stream: bgzip writes one for each 64 KiB of text."""
FEED = 16 * 1024
"""Bytes that a decoder is given at a time: what is left of them at the end of a part is copied."""
STEP = 256 * 1024
"""Bytes that a decoder gives at a time: to copy them holds up all other threads."""
_WINDOW_LOG = 27
_GZIP, _ZLIB, _RAW = 31, 15, -15
"""zlib's numbers for the three formats that it reads."""


class _Decoder(Protocol):
    """One part of a stream: zlib and zstd differ in where they keep what they have not used."""

    @property
    def eof(self) -> bool: ...

    def step(self, data: memoryview, most: int) -> tuple[bytes, int]:
        """Return ``most`` decoded bytes at most, and how far to go on in the input.

        That is backward where bytes that were used before belong to the next part.
        """
        ...


class _Zlib:
    def __init__(self, format_: int) -> None:
        self._stream = zlib.decompressobj(format_)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    def step(self, data: memoryview, most: int) -> tuple[bytes, int]:
        stream, piece = self._stream, data[:FEED]
        found = stream.decompress(piece, most)
        left = stream.unused_data if stream.eof else stream.unconsumed_tail
        return found, len(piece) - len(left)


class _Zstd:
    def __init__(self) -> None:
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        self._stream = zstd.ZstdDecompressor(options=options)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    def step(self, data: memoryview, most: int) -> tuple[bytes, int]:
        stream = self._stream
        piece = data[: FEED if stream.needs_input else 0]
        found = stream.decompress(piece, most)
        return found, len(piece) - len(stream.unused_data)


def encodings(values: Sequence[str]) -> list[str]:
    """Return the encodings that a request's Content-Encoding headers name, the innermost first.

    Raises UnsupportedEncoding.
    """
    if not values:
        return []
    names = [name.strip().lower() for value in values for name in value.split(",")]
    found = [name.removeprefix("x-") for name in names if name not in PLAIN]
    if len(found) > MOST_ENCODINGS:
        raise UnsupportedEncoding(f"a body may have {MOST_ENCODINGS} encodings at most")
    for name in found:
        if name not in _DECODERS:
            raise UnsupportedEncoding(
                f"the body's encoding {name[:40]!r} can't be read; {ACCEPTED} can, and plain JSON"
            )
    return found


def decoded(data: bytes | bytearray, names: Sequence[str], limit: int) -> bytes | bytearray:
    """Return the body without its encodings, ``limit`` bytes at most.

    Raises BodyTooLarge, or BadRequest for a body that is not what its headers say.
    """
    for name in reversed(names):
        try:
            data = _DECODERS[name](memoryview(data), limit)
        except (zlib.error, zstd.ZstdError) as error:
            # Both begin with what was done when it failed.
            raise BadRequest(f"the body is no valid {name}: {str(error).split(': ')[-1]}") from None
        except _Broken as error:
            raise BadRequest(f"the body is no valid {name}: {error}") from None
    return data


class _Broken(Exception):
    """A fault that the decoders don't find."""


def _decode(
    data: memoryview, limit: int, decoder: Callable[[], _Decoder], members: int = MOST_MEMBERS
) -> bytearray:
    """Return the decoded bytes of ``members`` streams at most, one behind the other."""
    found, at = bytearray(), 0
    for _ in range(members):
        stream, more = decoder(), True
        while not stream.eof and (more or at < len(data)):
            most = min(STEP, limit + 1 - len(found))
            piece, further = stream.step(data[at:], most)
            at += further
            more = len(piece) == most  # it may have kept some to itself
            found += piece
            if len(found) > limit:
                raise BodyTooLarge(
                    f"the decoded body is larger than the {limit} bytes this server takes"
                )
        if not stream.eof:
            raise _Broken("it ends too early")
        if at == len(data):
            return found
    raise _Broken(f"{len(data) - at} bytes follow its end")


def _gzip(data: memoryview, limit: int) -> bytearray:
    return _decode(data, limit, lambda: _Zlib(_GZIP))


def _zstd(data: memoryview, limit: int) -> bytearray:
    return _decode(data, limit, _Zstd)


def _deflate(data: memoryview, limit: int) -> bytearray:
    """Decode what the standard calls so, zlib's format, and what some clients send: without it."""
    wrapped = len(data) > 1 and data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
    return _decode(data, limit, lambda: _Zlib(_ZLIB if wrapped else _RAW), 1)


_DECODERS: dict[str, Callable[[memoryview, int], bytearray]] = {
    "gzip": _gzip,
    "zstd": _zstd,
    "deflate": _deflate,
}
