"""Owners take turns within one priority class: start-time fair queueing.

Which *class* gets the next slot is decided by arrival keys alone (`gateway.ordering.aging`). Which
*job* of that class takes it is decided here, so that one owner's thousand jobs don't bury another's
single one. Each owner has a lane of its own, first come first served; a lane's next job carries the
start tag ``S = max(V, F)``: V is the class's virtual time (the start tag served last), F the lane's
virtual finish, to which every job served adds its cost. The lane with the smallest start tag is
next. Costs are tokens divided by the owner's weight, estimated at first and corrected when the real
ones are known. One owner alone sees first come, first served.

An example with jobs of 100 tokens, weight 1, in thousands of tags: owner A has A1, A2, A3 with the
start tags 0, 100, 200. B1 of owner B comes while A1 runs (V = 0) and gets the start tag 0: B1 is
next (0 < 100), then A2. If A1 really took 300 tokens, A's finish grows by 200: A2's start tag is
now 300, and B is served until its own tags get there. At weight 2, a job of B would cost 50.

Source: Goyal, Vin, Cheng, "Start-time Fair Queuing", SIGCOMM 1996. Pure; tags are integers, so
corrections leave no rounding behind.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import count
from typing import Generic, TypeVar

from gateway.ordering.indexed_heap import IndexedHeap

T = TypeVar("T")

UNIT = 1000
"""Tags per token at weight 1."""


def charge(tokens: float, weight: float) -> int:
    """Return the cost of so many tokens for an owner of that weight, in tags."""
    return round(tokens * UNIT / weight)


class _Lane(Generic[T]):
    """One owner's jobs of one class."""

    def __init__(self, owner: str, finish: int) -> None:
        self.owner = owner
        # A plain dict would be O(n) at its ends: it steps over every deleted entry.
        self.waiting: OrderedDict[T, tuple[int, int]] = OrderedDict()
        """Jobs in order of arrival: what each costs, and its number among all arrivals."""
        self.backlog = 0
        self.serving = 0
        self.start = finish
        self.finish = finish


class _Class(Generic[T]):
    """The lanes of one priority value."""

    def __init__(self) -> None:
        self.virtual = 0
        self.lanes: dict[str, _Lane[T]] = {}
        self._heads: IndexedHeap[_Lane[T]] = IndexedHeap()
        self._empty: IndexedHeap[_Lane[T]] = IndexedHeap()
        """Lanes without any job, remembered until virtual time has passed their finish."""

    def lane(self, owner: str) -> _Lane[T]:
        if owner not in self.lanes:
            self.lanes[owner] = _Lane(owner, self.virtual)
        return self.lanes[owner]

    def rank(self, lane: _Lane[T]) -> None:
        """Put a lane whose jobs or tags changed where it belongs."""
        self._empty.discard(lane)
        if lane.waiting:
            _, number = next(iter(lane.waiting.values()))
            self._heads.set(lane, (lane.start, number))  # a tie goes to the first arrival
            return
        self._heads.discard(lane)
        if not lane.serving:
            self._empty.set(lane, lane.finish)

    def forget(self) -> None:
        """Drop the lanes whose owners have no work and no debt."""
        while (lane := self._empty.first()) is not None and lane.finish <= self.virtual:
            self._empty.discard(lane)
            del self.lanes[lane.owner]

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs: the next busy time starts afresh."""
        return len(self._empty) == len(self.lanes)

    def next(self) -> _Lane[T]:
        lane = self._heads.first()
        assert lane is not None
        return lane


class Turns(Generic[T]):
    """The next job of each class. O(log owners), unless said otherwise."""

    def __init__(self) -> None:
        self._classes: dict[float, _Class[T]] = {}
        self._arrivals = count()

    def __len__(self) -> int:
        """Classes with jobs that wait or are served."""
        return len(self._classes)

    def enter(self, item: T, priority: float, owner: str, cost: int) -> None:
        """``item`` waits, behind what its owner already has in this class."""
        class_ = self._classes.setdefault(priority, _Class())
        lane = class_.lane(owner)
        if not lane.waiting:
            lane.start = max(class_.virtual, lane.finish)
        lane.waiting[item] = cost, next(self._arrivals)
        lane.backlog += cost
        class_.rank(lane)

    def leave(self, item: T, priority: float, owner: str) -> None:
        """``item`` gave up waiting. Raises KeyError if it does not wait."""
        class_ = self._classes[priority]
        lane = class_.lanes[owner]
        lane.backlog -= lane.waiting.pop(item)[0]
        self._changed(priority, class_, lane)

    def take(self, priority: float) -> T:
        """The class's next job, which is served now. Raises KeyError if none waits."""
        class_ = self._classes[priority]
        lane = class_.next()
        item = next(iter(lane.waiting))
        cost, _ = lane.waiting.pop(item)
        lane.backlog -= cost
        lane.serving += 1
        class_.virtual = max(class_.virtual, lane.start)
        lane.start = lane.finish = lane.start + cost
        self._changed(priority, class_, lane)
        return item

    def settle(self, priority: float, owner: str, difference: int) -> None:
        """A job that was taken has ended, and cost so much more (or less) than estimated."""
        class_ = self._classes[priority]
        lane = class_.lanes[owner]
        lane.serving -= 1
        lane.finish += difference
        lane.start = max(class_.virtual, lane.finish)
        self._changed(priority, class_, lane)

    def last(self, priority: float, may: Callable[[T], bool]) -> T | None:
        """The first to displace: the last job of the longest line, of those whose last one ``may``.

        O(owners that wait). The line is as long as the virtual time at which it would end.
        """
        found: T | None = None
        longest: tuple[int, int] | None = None
        for lane in self._classes[priority].lanes.values():
            if not lane.waiting:
                continue
            item, (_, number) = next(reversed(lane.waiting.items()))
            end = lane.start + lane.backlog, number
            if (longest is None or end > longest) and may(item):
                found, longest = item, end
        return found

    def order(self, priority: float) -> Iterator[T]:
        """The jobs of a class as they would be served, were nothing to come."""
        lanes = self._classes[priority].lanes.values() if priority in self._classes else ()
        heads: list[tuple[int, int, T, int, Iterator[tuple[T, tuple[int, int]]]]] = []

        def advance(start: int, jobs: Iterator[tuple[T, tuple[int, int]]]) -> None:
            for item, (cost, number) in jobs:
                heapq.heappush(heads, (start, number, item, cost, jobs))
                return

        for lane in lanes:
            advance(lane.start, iter(lane.waiting.items()))
        while heads:
            start, _, item, cost, jobs = heapq.heappop(heads)
            yield item
            advance(start + cost, jobs)

    def _changed(self, priority: float, class_: _Class[T], lane: _Lane[T]) -> None:
        class_.rank(lane)
        if class_.idle:
            del self._classes[priority]
        else:
            class_.forget()
