"""Lines between the store and the endpoints: taken as there is room, brought back with results.

Owns what this gateway knows of the open batches between two looks at the store, and the lines in
flight.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from gateway.batches.feeding import Rank, Runnable, rank, wanted, window
from gateway.batches.flights import Flights
from gateway.batches.line_store import LineStore
from gateway.batches.protocols import BatchModels, Endpoints, FindKey
from gateway.batches.record import BatchRecord, Exchange
from gateway.batches.validation import BatchProblem
from gateway.core.api_key import ApiKey
from gateway.core.errors import StorageFull

log = logging.getLogger("forge.batches")

LINGER_S = 0.1
"""The longest that a result waits for others to be flushed to the disk with it."""


class LineFeed:
    """The open batches, and their lines in flight."""

    def __init__(
        self, endpoints: Endpoints, keys: FindKey, models: BatchModels, wake: Callable[[], None]
    ) -> None:
        """``wake``: called when :meth:`exchange` should be called soon."""
        self._keys, self._models, self._wake = keys, models, wake
        self.flights = Flights(endpoints, _time, self._on_landing)
        self.batches: dict[str, BatchRecord] = {}
        """All that have not ended, as of the last look."""
        self._asked: set[str] = set()
        """The models of all of them."""
        self.hurried: set[str] = set()
        """Batches that may expire before they are done."""
        self.full: dict[str, list[BatchProblem]] = {}
        """Batches that a full disk has ended, with the errors that are still to be noted."""
        self._exhausted: set[str] = set()
        """Batches that had fewer lines left than were asked for, since the last look."""
        self._gone: set[str] = set()
        """Batches whose model is not there."""
        self._doubtful = False
        """True: an exchange has failed, and may have taken lines all the same."""
        self.ended = Counter[str]()
        """Lines that have ended here, by what became of them."""

    def look(self, batches: Iterable[BatchRecord]) -> None:
        """Take the present state of all open batches."""
        self.batches = {batch.id: batch for batch in batches}
        self._asked = {each.model for each in self.batches.values() if each.model is not None}
        self._exhausted.clear()
        self.hurried &= self.batches.keys()
        self._gone &= self.batches.keys()
        for gone in self.full.keys() - self.batches.keys():
            del self.full[gone]
        for gone in self.flights.by_batch().keys() - self.batches.keys():
            self.flights.stop(gone)
        self.flights.keep_paces((each.owner, each.model or "") for each in self.batches.values())

    def key(self, batch: BatchRecord) -> ApiKey | None:
        """Return the key that the lines of a batch run as; None: it was revoked."""
        return self._keys(batch.owner)

    def hurry(self, batch: BatchRecord, key: ApiKey) -> None:
        """Let a batch's lines wait as ordinary requests do, those in flight included."""
        self.hurried.add(batch.id)
        self.flights.hurry(batch.id, self._rank(batch, key).priority)

    def fill(self, batches: Iterable[str], error: StorageFull) -> None:
        """End batches for which the disk has no room."""
        for id_ in (ended := {*batches}):
            log.error("%s has failed: %s", id_, error.message)
            self.full[id_] = [{"code": error.code, "message": error.message}]
            self.flights.stop(id_)
        self.flights.drop(ended)

    def counts(self) -> Counter[str]:
        """Return the lines that wait and run, and what has become of others here."""
        left = sum(batch.total - batch.done for batch in self.batches.values())
        running = len(self.flights)
        now = {"waiting": max(0, left - running), "running": running}
        return self.ended + Counter[str]({**now, "retried": self.flights.retried})

    # ------------------------------------------------------------------ the exchange

    async def exchange(self, lines: LineStore, *, take: bool) -> bool:
        """Take results to the store, and lines from there.

        Returns whether a batch was finished by it. Raises StorageFull or Unavailable: then nothing
        is lost, but of batches that :meth:`fill` has ended.
        """
        flights = self.flights
        if self._doubtful:
            known = flights.lines()
            flights.given_up += [each for each in await lines.own() if each not in known]
            self._doubtful = False
        places = self._places() if take else Counter[str]()
        done, given_up = flights.done, flights.given_up
        if not (done or given_up or places):
            return False
        flights.done, flights.given_up = [], []
        try:
            found = await lines.exchange(done, given_up, places)
        except BaseException as error:  # of a cancelled one, too, nothing may be lost
            flights.done, flights.given_up = done + flights.done, given_up + flights.given_up
            self._doubtful = True
            if isinstance(error, StorageFull):
                self.fill({line.batch for line in done} or {*places}, error)
            raise
        self._exhausted -= {batch for batch, _ in given_up}
        self._start(found, places)
        return self._count(found)

    def _places(self) -> Counter[str]:
        """Return how many lines to take of which batch."""
        now = _time()

        def allowed(owner: str, model: str, whole: int) -> int:
            return self.flights.pace(owner, model).allowed(whole, now)

        runnable = []
        for batch in self.batches.values():
            key = self.key(batch) if self._may_run(batch) else None
            if key is not None and self._served(batch, key):
                runnable.append(Runnable(batch, key, self._rank(batch, key)))
        return wanted(runnable, self.flights.by_batch(), self._models.slots, allowed)

    def _served(self, batch: BatchRecord, key: ApiKey) -> bool:
        """Return whether a batch's model is there for its key; if it is gone, its lines wait."""
        there = self._models.find(key, batch.model) is not None
        if there:
            self._gone.discard(batch.id)
        elif batch.id not in self._gone:
            self._gone.add(batch.id)
            log.warning("%s waits: its key has no model %r now", batch.id, batch.model)
        return there

    def _may_run(self, batch: BatchRecord) -> bool:
        runs = batch.status == "in_progress" and batch.ending is None
        return runs and batch.id not in self.full and batch.id not in self._exhausted

    def _rank(self, batch: BatchRecord, key: ApiKey) -> Rank:
        return rank(batch, key, batch.id in self.hurried)

    def _start(self, found: Exchange, places: Counter[str]) -> None:
        taken = Counter(line.batch for line in found.taken)
        self._exhausted |= {id_ for id_, asked in places.items() if taken[id_] < asked}
        for line in found.taken:
            batch = self.batches[line.batch]
            key = self.key(batch)
            if key is None:  # revoked while the line was taken: it waits again
                self.flights.given_up.append((line.batch, line.number))
            else:
                self.flights.start(batch, line, key, self._rank(batch, key))

    def _count(self, found: Exchange) -> bool:
        """Count results; return whether they are the last ones of a batch."""
        finished = False
        for id_, (completed, failed) in found.recorded.items():
            self.ended.update(completed=completed, failed=failed)
            batch = self.batches.get(id_)
            if batch is not None:
                batch = replace(
                    batch, completed=batch.completed + completed, failed=batch.failed + failed
                )
                self.batches[id_] = batch
                finished |= batch.done >= batch.total
        return finished

    def _on_landing(self) -> None:
        """Have results flushed when half of the slots have given one, or soon."""
        places = sum(window(self._models.slots(each)) for each in self._asked)
        if self.flights.landed >= max(1, places // 4):
            self._wake()
        elif self.flights.landed == 1:
            asyncio.get_running_loop().call_later(LINGER_S, self._wake)


def _time() -> float:
    return asyncio.get_running_loop().time()
