"""From sampled bytes to text that may be shown: incremental UTF-8 and stop strings. Pure.

A token is a run of bytes, not of characters: a character may straddle tokens, and so may a stop
string. :class:`IncrementalDetokenizer` therefore holds back the bytes of an unfinished character,
and the longest tail that could still become a stop string.
"""

import codecs
from collections.abc import Sequence


class StopFilter:
    """Text in, the same text out up to the first stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        """``stops`` are non-empty strings; the text before the first match is kept."""
        self._stops = tuple(stops)
        self._held = ""
        self.met: str | None = None
        """The stop string that was met; nothing is released after it."""

    @property
    def stopped(self) -> bool:
        """Return whether a stop string was met."""
        return self.met is not None

    def push(self, fresh: str, *, look: bool = True) -> str:
        """Return the text that is safe to show now. ``look``: False lets ``fresh`` pass as it is.

        Then no stop string may begin in it.
        """
        if self.stopped:
            return ""
        if not look:
            return fresh
        text = self._held + fresh
        found = earliest(text, self._stops)
        if found is not None:
            cut, self.met = found
            self._held = ""
            return text[:cut]
        keep = open_tail(text, self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """Return what was held back: no more text comes."""
        held, self._held = self._held, ""
        return held


class IncrementalDetokenizer:
    """Bytes of tokens in, releasable text out; ends at the first stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        """``stops``: see :class:`StopFilter`."""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._filter = StopFilter(stops)

    @property
    def whole(self) -> bool:
        """Return whether the bytes so far end with a whole character."""
        return not self._decoder.getstate()[0]

    @property
    def stopped(self) -> bool:
        """Return whether a stop string was met; nothing is released after it."""
        return self._filter.stopped

    @property
    def met(self) -> str | None:
        """Return the stop string that was met."""
        return self._filter.met

    def push(self, piece: bytes, *, stops: bool = True) -> str:
        """Take the bytes of one token; return the text that is safe to show now (may be "").

        ``stops``: False if no stop string is looked for yet, nor may one begin here.
        """
        if self.stopped:
            return ""
        return self._filter.push(self._decoder.decode(piece), look=stops)

    def flush(self) -> str:
        """The generation ended for another reason than a stop string: return what was held back.

        A character that stayed unfinished becomes U+FFFD.
        """
        if self.stopped:
            return ""
        return self._filter.push(self._decoder.decode(b"", final=True)) + self._filter.flush()


def earliest(text: str, stops: Sequence[str]) -> tuple[int, str] | None:
    """Return the stop that is complete first in ``text`` (the longest) and where it begins, if any.

    Not the first to begin: that would depend on how the text was cut into tokens.
    """
    found = [(at + len(stop), at, stop) for stop in stops if (at := text.find(stop)) >= 0]
    return min(found)[1:] if found else None


def open_tail(text: str, stops: Sequence[str]) -> int:
    """Length of the longest end of ``text`` that is a proper beginning of one of ``stops``."""
    longest = max((len(stop) for stop in stops), default=0)
    for size in range(min(len(text), longest - 1), 0, -1):
        tail = text[-size:]
        if any(len(stop) > size and stop.startswith(tail) for stop in stops):
            return size
    return 0
