"""Lines of a file that comes in chunks; of a line that is too long nothing is kept. Pure."""

from typing import NamedTuple


class RawLine(NamedTuple):
    """A line that is not empty, with its place in the file."""

    number: int
    """1 is the first."""
    data: bytes | None
    """Its bytes without the end of line; None: there are too many."""


class LineSplitter:
    """Cuts chunks into lines: each byte is looked at once, however the chunks lie."""

    def __init__(self, longest: int) -> None:
        """``longest``: bytes of a line."""
        self._longest = longest
        self._parts = list[bytes]()
        self._size = 0
        self._number = 1

    def feed(self, chunk: bytes) -> list[RawLine]:
        """Return the lines that end in this chunk."""
        found, start = list[RawLine](), 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._grow(chunk[start:end])
            found += self._taken()
            start = end + 1
        self._grow(chunk[start:])
        return found

    def end(self) -> list[RawLine]:
        """Return the last line, if no end of line follows it."""
        return self._taken()

    def _grow(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._longest:
            self._parts.clear()
        elif part:
            self._parts.append(part)

    def _taken(self) -> list[RawLine]:
        data = b"".join(self._parts).strip() if self._size <= self._longest else None
        found = [] if data == b"" else [RawLine(self._number, data)]
        self._parts.clear()
        self._size = 0
        self._number += 1
        return found
