"""The report of steps to the gateway: their events, and how much they computed so far.

Events stand in the order in which they happened. Those of a step are told when it is over, with
those of quick steps before it (:mod:`workers.engine.outbox`). A slot that was left is told of
before the next step, which may be long.
"""

import time
from collections.abc import Callable, Iterable

from workers.engine.new_tokens import NO_TOKENS, NewTokens
from workers.engine.outbox import Outbox
from workers.engine.sequence import EngineSequence
from workers.protocol import (
    Delta,
    Event,
    Extra,
    Failed,
    Finished,
    Generate,
    Load,
    Parked,
    Started,
    Step,
)


class Reporter:
    """Events until they are sent, and the counters of a worker's life."""

    def __init__(self, outbox: Outbox, send: Callable[[Step], None]) -> None:
        """``outbox``: which steps share a frame; ``send`` writes a frame to the gateway."""
        self._outbox = outbox
        self._send = send
        self._events: list[Event] = []
        self._told = 0
        """Steps that were told, or are in the outbox."""
        self.steps = 0
        self.taking_part = 0
        """Sequences in all steps together."""
        self.prefilled = 0
        """Tokens computed of prompts and inputs."""
        self.decoded = 0
        """Tokens chosen."""

    # ------------------------------------------------------------------ what happens

    def computed(self, sequences: int) -> None:
        """Count a step with so many sequences."""
        self.steps += 1
        self.taking_part += sequences

    def add(self, events: Iterable[Event]) -> None:
        """Take events that others have made."""
        self._events += events

    def started(self, sequence: EngineSequence) -> None:
        """A sequence has a slot; with the ids of its prompt, if they were asked for."""
        request = sequence.request
        cached = min(sequence.computed, sequence.prompt_tokens)
        ids = [each for each in sequence.prompt if each >= 0] if request.params.prompt_ids else []
        told = Started(request.id, request.attempt, sequence.prompt_tokens, cached, ids)
        self._events.append(told)

    def told(self, sequence: EngineSequence, text: str = "", extra: Extra | None = None) -> None:
        """A sequence has given what is no token of its answer."""
        self.given(sequence, NO_TOKENS._replace(text=text, extra=extra))

    def given(self, sequence: EngineSequence, new: NewTokens) -> None:
        """A sequence has given tokens, and goes on."""
        name = sequence.request.id, sequence.request.attempt
        self._events.append(Delta(*name, [*new.ids], new.text, new.extra, new.drafts))

    def finished(self, sequence: EngineSequence, reason: str, last: NewTokens = NO_TOKENS) -> None:
        """A sequence is over, with its last tokens."""
        name = sequence.request.id, sequence.request.attempt
        ids, text, extra, drafts = [*last.ids], last.text, last.extra, last.drafts
        self._events.append(Finished(*name, reason, ids, text, extra, drafts, sequence.stop))

    def failed(self, request: Generate, code: str, message: str, param: str | None = None) -> None:
        """A request can't be served, or no further."""
        self._events.append(Failed(request.id, request.attempt, code, message, param))

    def parked(self, sequence: EngineSequence) -> None:
        """A sequence has left its slot, and goes on later."""
        self._events.append(Parked(sequence.request.id, sequence.request.attempt))

    # ------------------------------------------------------------------ when it is told

    def hurry(self, *, busy: bool, prompts: Callable[[], bool]) -> None:
        """Tell before a step what should not wait for its end.

        A slot that was left can be given away meanwhile, and the step may be long, as one is that
        computes ``prompts``. It is no report of a step.
        """
        if busy and any(isinstance(event, Parked | Finished) for event in self._events):
            self._outbox.add(self._events, now_ms())
            self._events = []
        elif not self._outbox.waiting or not prompts():
            return
        self._send(Step(self._outbox.take(), None))

    def flush(self, step_ms: float, *, busy: bool, load: Callable[[float], Load]) -> None:
        """Tell of the step, even if it brought nothing: the gateway sees us work.

        A quick one may share its frame with the next.
        """
        if not self._events and self.steps == self._told:
            return
        events, self._events = self._events, []
        self._told = self.steps
        ended_ms = now_ms()
        self._outbox.add(events, ended_ms)
        if self._outbox.due(ended_ms, step_ms) or not busy:
            self._send(Step(self._outbox.take(), load(step_ms)))


def now_ms() -> float:
    """Return the time of a clock that only goes forward."""
    return time.perf_counter() * 1000
