"""Turns of groups of sequences that can't be computed together. Pure.

All rows of one ``llama_decode`` are computed with the same LoRA adapters, so sequences of different
adapters take turns, a group at a time. To change the adapters costs the time of a step or more in a
small model, so a turn lasts for several steps: a round of all groups is long enough that changes
take a tenth of it, unless streams would stand still for too long.

Turns are fair in time by weight: each sequence brings that of its priority, and a group has the sum
of its sequences'. Each group has a *virtual time*, what it was given divided by its weight; the one
that is furthest behind is next, among equals the most urgent. A group that comes begins at the time
of the one that is furthest behind, so it is next, and one that leaves while it is ahead is as far
ahead when it comes back soon. A more urgent group than the current one does not wait for the turn's
end, unless it is ahead.

An example: adapter A has 3 streams of normal priority (weight 4 each), the base has 1, and a change
takes 10 ms. Two changes may take a tenth of a round, so a round lasts 200 ms: A has 150 of them,
the base 50. With steps of 20 ms the base gets 3 of them, 60 ms, and A's next turns are longer.
"""

from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from workers.planning.step_budget import UNNOTICED_MS

K = TypeVar("K")

OVERHEAD = 0.1
"""Part of a round that changes may take, as long as it lasts no longer than UNNOTICED_MS."""
STEEPNESS = 4.0
"""A sequence weighs so many times as much as one whose priority is 1 lower."""
LOWEST, HIGHEST = -1.0, 3.0
"""Priorities beyond these count as these."""
CHANGES = 8
"""Changes whose durations are remembered."""
MOST_GONE = 64
"""Groups that left while they were ahead and are remembered: clients choose scales."""
FIRST_CHANGE_MS = 10.0
"""A change before one was measured: turns must have steps without one to compare it with."""


def weight(priority: float) -> float:
    """Return the weight of a sequence with a base priority."""
    return float(STEEPNESS ** min(max(priority, LOWEST), HIGHEST))


class _Group(NamedTuple):
    weight: float
    urgency: float


class GroupTurns(Generic[K]):
    """Choose the group that the next step computes; learns what steps and changes take."""

    def __init__(self) -> None:
        self._current: K | None = None
        self._spent_ms = 0.0
        """Time that the current turn has had."""
        self._virtual: dict[K, float] = {}
        """Milliseconds per weight that each group was given, since a time that all share."""
        self._changes: list[float] = []
        """Milliseconds of the last changes."""

    def choose(self, groups: Mapping[K, Sequence[float]]) -> K:
        """Return one of ``groups``, each of which has the base priorities of its sequences.

        Asked again before :meth:`spent` it answers as before, as long as that group is there.
        """
        if len(groups) == 1 and not self._virtual:
            (only,) = groups
            return self._begin(only)
        found = {
            key: _Group(sum(map(weight, priorities)), max(priorities))
            for key, priorities in groups.items()
        }
        self._arrive(found)
        current = self._current
        if current is not None and current in found:
            urgent = [key for key in found if self._goes_before(key, current, found)]
            if urgent:
                return self._begin(
                    min(urgent, key=lambda key: (-found[key].urgency, self._virtual[key]))
                )
            if not self._spent_ms or self._spent_ms < self._turn_ms(current, found):
                return current
        return self._begin(min(found, key=lambda key: (self._virtual[key], -found[key].urgency)))

    def _goes_before(self, key: K, current: K, groups: Mapping[K, _Group]) -> bool:
        """Return whether a group does not wait for the end of the current one's turn."""
        more_urgent = groups[key].urgency > groups[current].urgency
        return more_urgent and self._virtual[key] <= self._virtual[current]

    def spent(self, key: K, ms: float, groups: Mapping[K, Sequence[float]]) -> None:
        """A step of a group took ``ms``, a change before it included."""
        if len(groups) > 1 or self._virtual:
            own = sum(map(weight, groups[key]))
            self._virtual[key] = self._virtual.get(key, self._floor(groups)) + ms / own
        self._spent_ms += ms

    def changed(self, ms: float) -> None:
        """A change of groups took ``ms``."""
        self._changes = [*self._changes[1 - CHANGES :], ms]

    @property
    def change_ms(self) -> float:
        """Return what a change takes: the median of the last ones."""
        if not self._changes:
            return FIRST_CHANGE_MS
        return sorted(self._changes)[len(self._changes) // 2]

    def _begin(self, key: K) -> K:
        if key != self._current:
            self._current, self._spent_ms = key, 0.0
        return key

    def _arrive(self, groups: Mapping[K, _Group]) -> None:
        """Give groups that are new their time, and forget those that left and are not ahead."""
        floor = self._floor(groups)
        for key in groups:
            self._virtual[key] = max(floor, self._virtual.get(key, floor))
        gone = [key for key in self._virtual if key not in groups]
        gone.sort(key=lambda key: self._virtual[key])
        for at, key in enumerate(gone):
            if self._virtual[key] <= floor or len(gone) - at > MOST_GONE:
                del self._virtual[key]

    def _floor(self, groups: Mapping[K, object]) -> float:
        """Return the time of the group that is furthest behind, of those that are known."""
        known = [self._virtual[key] for key in groups if key in self._virtual]
        return min(known, default=max(self._virtual.values(), default=0.0))

    def _turn_ms(self, key: K, groups: Mapping[K, _Group]) -> float:
        """Return how long a group's turn lasts: its part of a round."""
        round_ms = min(self.change_ms * len(groups) / OVERHEAD, UNNOTICED_MS)
        whole = sum(group.weight for group in groups.values())
        return round_ms * groups[key].weight / whole
