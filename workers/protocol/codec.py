"""Messages as frames and back; sans-IO, so it is tested without a process.

A frame is a 4-byte big-endian length followed by one msgpack message.
"""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import msgspec

MAX_FRAME = 256 * 1024 * 1024
_encoder = msgspec.msgpack.Encoder()

M = TypeVar("M", bound=msgspec.Struct)


class ProtocolError(Exception):
    """The other side sent bytes that are no message of this protocol."""


def encode(message: msgspec.Struct) -> bytes:
    """One message as a frame."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "big") + body


class FrameDecoder(Generic[M]):
    """Bytes in, messages out; bytes may be cut anywhere.

    Raises :class:`ProtocolError` for a frame that is too large or is no message of ``type_``.
    """

    def __init__(self, type_: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(type_)
        self._buffer = bytearray()
        self.size = 0
        """Bytes of the message that came last."""

    def feed(self, data: bytes) -> Iterator[M]:
        """Take bytes as they come from the link; yield the messages they complete."""
        self._buffer += data
        start = 0
        try:
            while len(self._buffer) - start >= 4:
                size = int.from_bytes(self._buffer[start : start + 4], "big")
                if size > MAX_FRAME:
                    raise ProtocolError(f"a frame of {size} bytes")
                end = start + 4 + size
                if len(self._buffer) < end:
                    break
                body = bytes(self._buffer[start + 4 : end])
                start, self.size = end, size
                yield self._decode(body)
        finally:
            del self._buffer[:start]

    def _decode(self, body: bytes) -> M:
        try:
            return self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"not a message of this protocol: {error}") from error
