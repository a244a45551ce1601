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

    def __init__(
        self,
        indent: int,
        limit_ms: int,
        now_ms: Callable[[], float],
        spent_ms: float | None = None,
    ) -> None:
        """``indent``: 0 if any will do; ``limit_ms``: 0 if there is none.

        ``spent_ms``: the time since the first token of an answer that another worker began. Its
        text is pushed first, which no time ends, and then :meth:`go_on` is called.
        """
        self._indent = indent
        self._limit_ms = limit_ms
        self._now_ms = now_ms
        self._earlier_ms = None if spent_ms is None else now_ms() - spent_ms
        """The time of the first token; not None while the text of another worker is pushed."""
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
        late = self._earlier_ms is None and now - began > self._limit_ms
        if self._limit_ms and "\n" in kept and late:
            self.stopped = True
        return kept

    def go_on(self) -> None:
        """Count the time since the first token of the answer, whichever worker had it."""
        if self._earlier_ms is not None:
            self._began_ms, self._earlier_ms = self._earlier_ms, None

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
