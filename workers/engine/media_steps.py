"""Rows of media in the engine: which sequences have theirs, and the slices that steps compute.

Rows are computed in a call of their own, since llama.cpp does not mix them with tokens, and in
slices of what a step may compute of prompts, so that the streams wait no longer for a picture than
for a text. In a step there is either a slice of a medium or there are tokens of prompts, by the
order of the prompts. Where each row of a medium attends to all of them it is computed in one go.

A sequence whose rows are not there lets the others go on, and keeps its cells.
"""

from collections.abc import Callable
from typing import Protocol

from workers.engine.sequence import EngineSequence
from workers.llama import Context, RowsSlice
from workers.media.source import MediumSlot
from workers.refused import InputRefused


class RowSource(Protocol):
    """Fetches the rows of a medium."""

    def ask(self, slot: MediumSlot) -> None: ...


class RowsArrived:
    """Into the engine's inbox: rows that were asked for are there, or will never be."""


class MediaSteps:
    """The media of an engine's sequences. For the engine's thread."""

    def __init__(self, context: Context, source: RowSource | None) -> None:
        """``source``: None if the model takes no media."""
        self._context = context
        self._source = source
        self.awaited = 0
        """Sequences that the last step could not compute, since their rows are not there."""

    def able(
        self,
        sequences: list[EngineSequence],
        refuse: Callable[[EngineSequence, InputRefused], None],
    ) -> list[EngineSequence]:
        """Return those that a step can compute; rows of the others are asked for.

        ``refuse`` is called with those whose rows will never be there.
        """
        if self._source is None:
            return sequences
        found, self.awaited = [], 0
        for sequence in list(sequences):
            medium = sequence.medium
            if medium is not None and not medium.rows.values:
                slot = medium.slot
                if slot.refused is not None:
                    refuse(sequence, slot.refused)
                    continue
                self._source.ask(slot)
                if not medium.rows.values:
                    self.awaited += 1
                    continue
            found.append(sequence)
        return found

    @staticmethod
    def slice(sequence: EngineSequence, most: int) -> int:
        """Return how many rows of a sequence's next medium a step computes."""
        medium = sequence.medium
        assert medium is not None
        left = medium.run.end - sequence.computed
        return min(left, most) if medium.rows.causal else left

    def decode(self, sequence: EngineSequence, count: int) -> int:
        """Compute the next ``count`` rows of a sequence; the result is as of the context's."""
        medium, resident = sequence.medium, sequence.resident
        assert medium is not None
        assert resident is not None, "it has cells"
        run, rows = medium.run, medium.rows
        return self._context.decode_rows(
            RowsSlice(
                resident.number,
                sequence.media.runs.position(run.start),
                sequence.computed - run.start,
                count,
                rows.count,
                rows.values,
                rows.places,
                rows.causal,
                result=sequence.computed + count == sequence.known,
            )
        )

    @staticmethod
    def release(sequence: EngineSequence) -> None:
        """Let the rows go that have cells."""
        needed = {id(p.slot) for p in sequence.media.placed if p.run.end > sequence.computed}
        for placed in sequence.media.placed:
            if id(placed.slot) not in needed:
                placed.slot.encoded = None
