"""All models of a server, and what is going on in all of them together."""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from gateway.core.errors import UnknownModel
from gateway.dispatch.queue import Entry
from gateway.dispatch.sequence import Sequence as Generation
from gateway.pool import WorkerStatus
from gateway.served.load_policy import State
from gateway.served.served_model import ServedModel


class ModelRegistry:
    """One lane at least; the first is that of requests which name no model."""

    def __init__(self, lanes: Sequence[ServedModel]) -> None:
        self.lanes = list(lanes)
        self._by_name = {lane.name: lane for lane in lanes}

    @property
    def first(self) -> ServedModel:
        return self.lanes[0]

    def find(self, name: str | None) -> ServedModel:
        """The lane of the model ``name``. Raises :class:`UnknownModel`."""
        if name is None:
            return self.first
        lane = self._by_name.get(name)
        if lane is None:
            names = ", ".join(f"'{each}'" for each in self._by_name)
            raise UnknownModel(
                f"the model '{name}' does not exist; this server has {names}", param="model"
            )
        return lane

    def states(self) -> dict[str, State]:
        """Which models are loaded."""
        return {lane.name: lane.state for lane in self.lanes}

    def restarts(self) -> int:
        """Worker processes started in the place of others."""
        return sum(lane.restarts for lane in self.lanes)

    def worker_numbers(self) -> list[int]:
        """Those of all workers that there are or may be."""
        numbers = [number for lane in self.lanes for number in lane.numbers]
        return list(dict.fromkeys([*numbers, *(status.id for _, status in self.workers())]))

    @property
    def names(self) -> list[str]:
        """What clients may call the models."""
        return list(self._by_name)

    # ------------------------------------------------------------------ what waits

    def depth(self) -> int:
        """Sequences waiting."""
        return sum(lane.dispatcher.stats.depth() for lane in self.lanes)

    def running(self) -> int:
        """Sequences with a worker."""
        return sum(lane.dispatcher.stats.running() for lane in self.lanes)

    def paused(self) -> int:
        """Sequences that wait for their clients to read."""
        return sum(lane.dispatcher.stats.paused() for lane in self.lanes)

    def preemptions(self) -> int:
        """Sequences parked for more urgent ones, since the start."""
        return sum(lane.dispatcher.stats.preemptions for lane in self.lanes)

    def failovers(self) -> int:
        """Sequences put back because their workers died, since the start."""
        return sum(lane.dispatcher.stats.failovers for lane in self.lanes)

    def waiting(self) -> list[Generation]:
        """All sequences that wait, in no order."""
        return [each for lane in self.lanes for each in lane.dispatcher.stats.waiting()]

    def served(self) -> list[Generation]:
        """All sequences with a worker."""
        return [each for lane in self.lanes for each in lane.dispatcher.stats.served()]

    def order(self) -> Iterator[tuple[ServedModel, Entry, Generation]]:
        """Who would be served next and in which place, were all slots free; O(n log n)."""

        def of(lane: ServedModel) -> Iterator[tuple[ServedModel, Entry, Generation]]:
            return ((lane, place, sequence) for place, sequence in lane.dispatcher.stats.order())

        return heapq.merge(*map(of, self.lanes), key=lambda found: found[1].key)

    def wait_estimate_s(self) -> float | None:
        """Seconds until one that came now would start, were it for the busiest model."""
        lanes = [lane.dispatcher.stats for lane in self.lanes]
        estimates = (each.wait_estimate_s(each.depth()) for each in lanes)
        return max((each for each in estimates if each is not None), default=None)

    def now_ns(self) -> int:
        """The dispatchers' clock."""
        return self.first.dispatcher.stats.now_ns()

    @property
    def draining(self) -> bool:
        return self.first.dispatcher.draining

    # ------------------------------------------------------------------ who works

    def workers(self) -> list[tuple[ServedModel, WorkerStatus]]:
        """All processes, and whose they are."""
        return [(lane, status) for lane in self.lanes for status in lane.workers()]

    def placements(self) -> Mapping[str, int]:
        """How many generations were given to a worker so far, by why to that one."""
        total = Counter[str]()
        for lane in self.lanes:
            total.update(lane.pool.placements())
        return total
