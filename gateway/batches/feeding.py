"""The choice of the lines that are taken next. Pure.

For each model there is a window: twice its slots. While one half is computed, the other waits at
the gateway's queue, so that a slot that gets free has a line at once; all other lines stay in the
store. Free places are divided among owners (:mod:`gateway.batches.window`), and an owner's batches
go in the order of their priorities and of their arrival.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gateway.batches.record import BatchRecord
from gateway.batches.window import OwnerLines, divided
from gateway.core.api_key import ApiKey
from gateway.core.priority import NORMAL, PRIORITIES

BATCH = PRIORITIES["batch"]


@dataclass(frozen=True, slots=True)
class Rank:
    """The order in which lines get slots."""

    priority: float
    spare: bool
    """True: only slots that no other request wants."""


def rank(batch: BatchRecord, key: ApiKey, hurried: bool) -> Rank:
    """Return the rank of a batch's lines; ``hurried``: it may expire before they are done."""
    priority = min(batch.priority, key.max_priority)
    if hurried:
        return Rank(max(priority, min(NORMAL, key.max_priority)), spare=False)
    return Rank(priority, spare=priority <= BATCH)


def window(slots: int) -> int:
    """Return how many lines of a model may be in flight."""
    return 2 * max(1, slots)


@dataclass(frozen=True, slots=True)
class Runnable:
    """A batch whose lines may run."""

    batch: BatchRecord
    key: ApiKey
    rank: Rank

    @property
    def model(self) -> str:
        assert self.batch.model is not None, "it was validated"
        return self.batch.model


def wanted(
    runnable: Iterable[Runnable],
    in_flight: Mapping[str, int],
    slots: Callable[[str], int],
    allowed: Callable[[str, str, int], int],
) -> Counter[str]:
    """Return how many lines to take of which batch.

    ``in_flight``: lines by batch; ``allowed``: the most that an owner may have in flight for a
    model, whose window is the third argument.
    """
    by_model = defaultdict[str, list[Runnable]](list)
    for each in runnable:
        by_model[each.model].append(each)
    found = Counter[str]()
    for model, batches in by_model.items():
        whole = window(slots(model))
        owners = _owners(batches, in_flight)
        for owner in owners.values():
            owner.allowed = allowed(owner.owner, model, whole)
        places = whole - sum(owner.open for owner in owners.values())
        found += divided(places, [*owners.values()])
    return found


def _owners(batches: Iterable[Runnable], in_flight: Mapping[str, int]) -> dict[str, OwnerLines]:
    owners: dict[str, OwnerLines] = {}
    for each in sorted(batches, key=lambda one: (-one.rank.priority, one.batch.seq)):
        batch, key = each.batch, each.key
        owner = owners.setdefault(key.name, OwnerLines(key.name, key.weight, 0, 0))
        flying = in_flight.get(batch.id, 0)
        owner.open += flying
        owner.batches.append((batch.id, batch.total - batch.done - flying))
    return owners
