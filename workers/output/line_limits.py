"""The end of an answer at the end of a line, as editors want it. Pure.

An answer that fills a gap in code is of use up to the line where its block ends, and early:

    indent 4:   "x = 1\\n    y = 2\\nz" is cut before the z: fewer than 4 blanks are before it
    limit 500:  the first token that ends a line, later than 500 ms after the first token, is the
                last one
"""

from collections.abc import Callable

BLANKS = " \t"


class LineLimits:
    """Text in, the same text out up to the end."""

    def __init__(self, indent: int, limit_ms: int, now_ms: Callable[[], float]) -> None:
        """``indent``: 0 if any will do; ``limit_ms``: 0 if there is none."""
        self._indent = indent
        self._limit_ms = limit_ms
        self._now_ms = now_ms
        self._began_ms: float | None = None
        self._blanks: int | None = None
        """Blanks at the beginning of the present line; None: it has begun, or is the first."""
        self.stopped = False

    def push(self, text: str) -> str:
        """Take text; return what of it is part of the answer."""
        if self.stopped:
            return ""
        now = self._now_ms()
        began = self._began_ms = now if self._began_ms is None else self._began_ms
        kept = self._indented(text) if self._indent else text
        if self._limit_ms and "\n" in kept and now - began > self._limit_ms:
            self.stopped = True
        return kept

    def _indented(self, text: str) -> str:
        for at, character in enumerate(text):
            if self._blanks is not None:
                if character in BLANKS:
                    self._blanks += 1
                    continue
                if self._blanks < self._indent:
                    self.stopped = True
                    return text[:at]
                self._blanks = None
            if character == "\n":
                self._blanks = 0
        return text
