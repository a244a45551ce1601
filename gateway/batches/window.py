"""Division of a window's free places among owners. Pure.

The window is small, so that it is the place where owners meet: an owner with a hundred batches has
no more of it than one with a single batch. Places go one by one to the owner that has least in
flight for its weight, and within an owner to the first of its batches that has lines left.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class OwnerLines:
    """The lines of one owner, for one model."""

    owner: str
    weight: float
    open: int
    """In flight."""
    allowed: int
    """The most that may be."""
    batches: list[tuple[str, int]] = field(default_factory=list)
    """Batches in the order in which they are served, each with the lines that it has left."""

    def take(self) -> str | None:
        """Take a place; return the batch of its line, if there is one that may have it."""
        if self.open >= self.allowed:
            return None
        for at, (batch, rest) in enumerate(self.batches):
            if rest > 0:
                self.batches[at] = batch, rest - 1
                self.open += 1
                return batch
        return None


def divided(places: int, owners: Sequence[OwnerLines]) -> Counter[str]:
    """Return how many lines to take of which batch. The owners' lines count as taken then."""
    found = Counter[str]()
    wanting = list(owners)
    while wanting and found.total() < places:
        first = min(wanting, key=lambda each: (each.open / each.weight, each.owner))
        batch = first.take()
        if batch is None:
            wanting.remove(first)
        else:
            found[batch] += 1
    return found
