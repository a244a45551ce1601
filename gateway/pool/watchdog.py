"""Health of a worker, told from its messages. Pure.

It counts ticks instead of reading a clock: a gateway that was itself stopped for an hour must not
take that hour for its workers' silence.
"""

import math

START_S = 15.0
"""A process is silent while the interpreter starts and libraries are read from a slow disk."""
ANSWER_S = 300.0
"""A question takes milliseconds; a template that stands still is given up long before this."""


class Watchdog:
    """Watches one process. A tick that hears nothing is a strike."""

    def __init__(self, tick_s: float, silence_s: float, step_s: float) -> None:
        """``tick_s``: seconds between two calls of :meth:`tick`.

        ``silence_s``: how long it may say nothing at all; it beats even while it computes. Until
        its first word it has START_S at least.
        ``step_s``: how long it may hold work without ending a step; a slow prefill beats meanwhile.
        """
        self._start_limit = math.ceil(max(START_S, silence_s) / tick_s)
        self._silent_limit = math.ceil(silence_s / tick_s)
        self._spoken = False
        self._step_limit = math.ceil(step_s / tick_s)
        self._answer_limit = math.ceil(ANSWER_S / tick_s)
        self._silent = self._stepless = self._answerless = 0

    def beat(self) -> None:
        """Note that it sent something."""
        self._spoken = True
        self._silent = 0

    def step(self) -> None:
        """Note that it ended a step."""
        self._silent = self._stepless = 0

    def answer(self) -> None:
        """Note that it answered a question."""
        self._answerless = 0

    def tick(self, busy: bool, asked: bool = False) -> str | None:
        """Time passed. Why it must be taken for dead, if it must.

        ``busy``: whether it had generations; ``asked``: whether it had questions.
        """
        self._silent += 1
        self._stepless = self._stepless + 1 if busy else 0
        self._answerless = self._answerless + 1 if asked else 0
        if self._silent > (self._silent_limit if self._spoken else self._start_limit):
            return "it has been silent for too long"
        if self._stepless > self._step_limit:
            return "it has not ended a step for too long"
        if self._answerless > self._answer_limit:
            return "it has not answered a question for too long"
        return None
