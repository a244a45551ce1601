"""The events of steps until the gateway is told of them: quick steps share a frame. Pure.

A frame wakes the gateway, and each event in it becomes a chunk for a client. Where a step takes a
millisecond (a GPU, a tiny model) that costs more than the step. So tokens may wait for those of the
next steps, as long as no reader can tell: nothing waits longer than PATIENCE_MS, and only for steps
that are expected to end within that. A generation's first token, its end and all else that the
gateway acts on are told at once, together with what waits.

An example with steps of 3 ms: the tokens of the first wait, for the next step will end 3 ms later;
so do those of the second and the third. The fourth ends when the oldest have waited 9 ms, and with
one more they would have waited 12: the frame has four tokens of each stream, as one event each.

What was sampled and not told when a worker dies was never given to the client: the next attempt
samples the same tokens again.
"""

from collections.abc import Iterable, Sequence

from workers.protocol import Delta, Event, Started

QUICK_MS = 5.0
"""A longer step is told by itself."""
PATIENCE_MS = 10.0
"""No token waits longer for others."""


class Outbox:
    """Events in their order; those of one generation are told in the order of their steps."""

    def __init__(self, patience_ms: float = PATIENCE_MS) -> None:
        """``patience_ms``: 0 tells every step by itself."""
        self._patience_ms = patience_ms
        self._events: list[Event] = []
        self._since_ms: float | None = None
        """End of the first step that is not told; None: all are."""
        self._urgent = False
        self._flowing: dict[int, int] = {}
        """Attempt by id of each generation that has given a token."""

    @property
    def waiting(self) -> bool:
        """Return whether a step is not told yet."""
        return self._since_ms is not None

    def add(self, events: Iterable[Event], now_ms: float) -> None:
        """Take the events of a step that ended ``now_ms``; there may be none."""
        if self._since_ms is None:
            self._since_ms = now_ms
        for event in events:
            self._events.append(event)
            if isinstance(event, Delta):
                first = self._flowing.get(event.id) != event.attempt
                self._flowing[event.id] = event.attempt
                self._urgent |= first
            else:
                self._urgent = True
                if not isinstance(event, Started):
                    self._flowing.pop(event.id, None)

    def due(self, now_ms: float, step_ms: float) -> bool:
        """Return whether to tell now. ``step_ms``: what the last step took, and the next may."""
        if self._since_ms is None:
            return False
        waits_ms = now_ms - self._since_ms + step_ms
        return self._urgent or step_ms > QUICK_MS or waits_ms >= self._patience_ms

    def take(self) -> list[Event]:
        """Give all events, those of one generation joined where they can be."""
        events, self._events = self._events, []
        self._since_ms, self._urgent = None, False
        return joined(events)


def joined(events: Sequence[Event]) -> list[Event]:
    """Join tokens of each generation that bring plain text alone.

    Each keeps its place among its generation's events. What else a step brings stays by itself:
    thoughts and text must keep their order, a probability belongs to one token, and drafts to one
    step.
    """
    runs: list[list[Event]] = []
    plain: dict[int, list[Event]] = {}
    """The run of each generation whose last event can be joined."""
    for event in events:
        if not isinstance(event, Delta) or event.extra is not None or event.drafts is not None:
            plain.pop(event.id, None)
            runs.append([event])
        elif (run := plain.get(event.id)) is not None:
            run.append(event)
        else:
            runs.append(plain.setdefault(event.id, [event]))
    return [_one(run) for run in runs]


def _one(run: list[Event]) -> Event:
    """Return a run of events as one; a longer one is of plain tokens of one attempt."""
    if len(run) == 1:
        return run[0]
    deltas = [event for event in run if isinstance(event, Delta)]
    ids = [id_ for delta in deltas for id_ in delta.ids]
    return Delta(run[0].id, run[0].attempt, ids, "".join(delta.text for delta in deltas))
