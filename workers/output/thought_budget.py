"""The tokens that a thought may have, and those that close it when they are used up. Pure.

A model that thinks is made to stop as it would have stopped by itself: the tokens of the closing
tag are the next ones of its answer, whatever it would have sampled, and after them it goes on. All
is counted from the answer's tokens, so the thought of an answer that goes on elsewhere ends at the
same place.
"""

from collections.abc import Callable, Sequence

LONGEST_CHARACTER = 4
"""Bytes: no whole character needs more tokens."""


class ThoughtBudget:
    """Counts the tokens of one answer's thought."""

    def __init__(self, limit: int, closing: Sequence[int]) -> None:
        """``limit``: the most tokens of a thought; ``closing``: those that end it."""
        self._limit = limit
        self._closing = tuple(closing)
        self._thought = 0
        """Tokens of the thought so far."""
        self._open = self._closed = False
        self.due: tuple[int, ...] = ()
        """The next tokens of the answer, whatever is likely."""

    def begin(self, *, thinking: bool, fits: Callable[[list[int]], bool]) -> None:
        """Look before the first token; arguments as in :meth:`after`."""
        self._look(thinking=thinking, whole=True, fits=fits)

    def after(self, *, thinking: bool, whole: bool, fits: Callable[[list[int]], bool]) -> None:
        """Look after each token.

        ``thinking``: a thought is open now. ``whole``: the text ends with a whole character, and
        none is cut in two. ``fits``: whether tokens may come next, for an answer with a form: a
        call that has begun in the thought ends it, and can't be closed as one.
        """
        if self.due:
            self.due = self.due[1:]
            return
        self._thought += self._open
        self._look(thinking=thinking, whole=whole, fits=fits)

    def _look(self, *, thinking: bool, whole: bool, fits: Callable[[list[int]], bool]) -> None:
        self._open = thinking
        over = self._thought - self._limit
        if not thinking or self._closed or over < 0 or not (whole or over >= LONGEST_CHARACTER):
            return
        if fits(list(self._closing)):
            self.due, self._closed = self._closing, True
