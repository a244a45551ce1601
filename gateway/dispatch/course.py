"""The moments of a sequence that is traced or captured: slots, pauses, deaths of workers. Pure."""

from typing import Literal, NamedTuple

What = Literal["dispatched", "preempted", "parked", "paused", "lost", "ended"]
"""*preempted*: it gave its slot to a more urgent one. *parked*: its worker was short of cells.
*paused*: its client does not read. *lost*: its worker died."""
MOST_MOMENTS = 64
"""Moments that are kept: a sequence may be parked thousands of times."""


class Moment(NamedTuple):
    """Something that happened."""

    what: What
    at_ns: int
    worker: int | None
    """Number of the worker that has it from then on."""
    node: str | None = None
    """The machine of a cluster that this worker runs on."""


class Course:
    """The moments of one sequence, in their order. Those beyond the bound are counted alone."""

    __slots__ = ("dropped", "moments")

    def __init__(self) -> None:
        self.moments: list[Moment] = []
        self.dropped = 0

    def note(
        self, what: What, at_ns: int, worker: int | None = None, node: str | None = None
    ) -> None:
        """Keep a moment. The end is always kept."""
        if len(self.moments) < MOST_MOMENTS or what == "ended":
            self.moments.append(Moment(what, at_ns, worker, node))
        else:
            self.dropped += 1
