"""The one task that moves the batches of a gateway on.

    validating -> in_progress -> finalizing -> completed, expired, or failed (a full disk)
    validating -> failed (a line is wrong)
    validating, in_progress -> cancelling -> cancelled

At each turn it looks after all open batches, takes the results that have come to the store, and
takes as many lines as the window has room for. What takes minutes, validating and finalizing, is
done beside it, one of a kind at a time. All that must survive a restart is in the store: the runner
can be killed at any moment, and another one goes on.
"""

import asyncio
import contextlib
import logging
import math
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from gateway.batches.batch_store import BatchStore
from gateway.batches.checking import InputReader
from gateway.batches.danger import in_danger
from gateway.batches.feeding import Runnable, rank, wanted, window
from gateway.batches.flights import Flights
from gateway.batches.line_store import LineStore, LostBatch
from gateway.batches.membership import BEAT_S, Membership
from gateway.batches.output_files import OutputWriter
from gateway.batches.protocols import BatchModels, Endpoints, FindKey
from gateway.batches.record import BatchRecord, Ending, Exchange
from gateway.batches.validation import MOST_ENQUEUED
from gateway.core.errors import StorageFull, Unavailable
from gateway.stored.store import Store

log = logging.getLogger("forge.batches")

LOOK_S = 1.0
"""Between two looks at all batches: other gateways and the clock change them, too."""
LINGER_S = 0.1
"""The longest that a result waits for others to be flushed to the disk with it."""
GRACE_S = 10
"""Time that the lines in flight of a cancelled batch have to end."""
DRAIN_S = 5.0
"""The same when the server ends."""
AGAIN_S = 1.0
"""Between two attempts at a store that does not answer or has no room."""
REMEMBERED_S = 30 * 86400
"""Age of batches that are forgotten, if they have ended."""
FORGET_S = 3600.0


class BatchRunner:
    """Runs batches. Lifetimes: ``start``, then ``drain``, or ``stop`` at once."""

    def __init__(
        self,
        store: Store,
        endpoints: Endpoints,
        keys: FindKey,
        models: BatchModels,
        longest: int,
    ) -> None:
        """``longest``: bytes of a line."""
        self._store, self._keys, self._models, self._longest = store, keys, models, longest
        self._clock = store.clock
        self.rows = BatchStore(store.database)
        self._wake = asyncio.Event()
        self.flights = Flights(endpoints, self._time, self._on_landing)
        self._open: dict[str, BatchRecord] = {}
        self._exhausted: set[str] = set()
        """Batches that had fewer lines left than were asked for, since the last look."""
        self._hurried: set[str] = set()
        self._full: dict[str, list[Any]] = {}
        """Batches that a full disk has ended, and what is still to be noted about it."""
        self._chores: dict[str, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._draining = False
        self._next_look = self._next_beat = self._next_forgetting = 0.0
        self.ended = Counter[str]()
        """Lines that this gateway has seen ending, by what became of them."""
        self._be_another()

    def _be_another(self) -> None:
        """Begin as a gateway that has nothing."""
        self._gateway = f"gateway-{secrets.token_hex(12)}"
        self._lines = LineStore(self._store.database, self._gateway)
        self._membership = Membership(self._store.database, self._gateway)
        self._output = OutputWriter(self._store, self._lines, self._gateway)
        self._joined = False

    def _time(self) -> float:
        return asyncio.get_running_loop().time()

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Begin, or go on with what the store has."""
        self._task = asyncio.create_task(self._run())

    def poke(self) -> None:
        """Look at all batches now: one was made, or changed."""
        self._next_look = 0.0
        self._wake.set()

    async def drain(self) -> None:
        """Take nothing new; give the lines in flight a moment, and the rest back to the store."""
        if self._task is None:
            return
        self._draining = True
        await self.flights.settled(DRAIN_S)
        await self.stop()

    async def stop(self) -> None:
        """End now. Lines in flight wait again."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self._wake.set()
        await task  # not cancelled: it may be in a transaction
        chores = [*self._chores.values()]
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
        self.flights.stop()
        await self.flights.settled()
        try:
            await self._exchange(Counter())
            await self._membership.leave()
        except (StorageFull, Unavailable) as error:
            log.warning("what batches have done could not be noted: %s", error)

    async def _run(self) -> None:
        while self._task is not None:
            self._wake.clear()
            try:
                await self._turn()
            except (StorageFull, Unavailable) as error:
                log.warning("batches wait: %s", error.message)
                await asyncio.sleep(AGAIN_S)
            except Exception:
                log.exception("batches: a bug")
                await asyncio.sleep(AGAIN_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._pause())

    def _pause(self) -> float | None:
        """Return the seconds to the next turn; None: until something happens."""
        if self._open:
            return max(0.0, self._next_look - self._time())
        return BEAT_S if self._store.database.postgres else None

    # ------------------------------------------------------------------ a turn

    async def _turn(self) -> None:
        await self._stay_member()
        if self._time() >= self._next_look:
            await self._look()
        await self._exchange(Counter() if self._draining else self._wanted())

    async def _stay_member(self) -> None:
        """Join, and show the other gateways that this one is alive."""
        if self._joined and self._time() < self._next_beat:
            return
        if self._joined and not await self._membership.beat():
            log.warning("the other gateways took this one for dead; it begins anew")
            self.flights.stop()
            await self.flights.settled()
            self.flights.drop({*self._open})
            self._be_another()
        if not self._joined:
            await self._membership.join()
            self._joined = True
        self._next_beat = self._time() + BEAT_S if self._store.database.postgres else math.inf

    async def _look(self) -> None:
        """Look after each open batch."""
        self._next_look = self._time() + LOOK_S
        self._open = {batch.id: batch for batch in await self.rows.open()}
        self._exhausted.clear()
        self._hurried &= self._open.keys()
        self._full = {id_: told for id_, told in self._full.items() if id_ in self._open}
        self.flights.keep_paces((batch.owner, batch.model or "") for batch in self._open.values())
        for id_ in self.flights.by_batch().keys() - self._open.keys():
            self.flights.stop(id_)
        for batch in self._open.values():
            await self._look_after(batch)
        if self._time() >= self._next_forgetting:
            self._next_forgetting = self._time() + FORGET_S
            await self.rows.forget_before(int(self._clock()) - REMEMBERED_S)

    async def _look_after(self, batch: BatchRecord) -> None:
        now = self._clock()
        if batch.ending is not None:
            self.flights.stop(batch.id)
            self._begin("finalizing", batch, self._finalize)
        elif batch.id in self._full:
            await self._seal(batch, "failed", self._full[batch.id])
            del self._full[batch.id]  # there may be room for its output
        elif batch.status == "cancelling":
            over = now >= (batch.cancelling_at or 0) + GRACE_S
            if over or not await self._lines.any_taken(batch.id):
                await self._seal(batch, "cancelled")
        elif now >= batch.expires_at:
            await self._seal(batch, "expired")
        elif batch.status == "in_progress" and batch.done >= batch.total:
            await self._seal(batch, "completed")
        elif (key := self._keys(batch.owner)) is None:
            self.flights.stop(batch.id)  # revoked: it waits for its expiry
        elif batch.status == "validating":
            self._begin("validating", batch, self._validate)
        elif self._judge(batch, now):
            self.flights.hurry(batch.id, rank(batch, key, hurried=True).priority)

    def _judge(self, batch: BatchRecord, now: float) -> bool:
        """Note whether a batch must hurry; return whether it must since now."""
        before = batch.id in self._hurried
        hurried = in_danger(
            now=now,
            begun=batch.in_progress_at or now,
            expires=batch.expires_at,
            total=batch.total,
            done=batch.done,
            before=before,
        )
        (self._hurried.add if hurried else self._hurried.discard)(batch.id)
        return hurried and not before

    async def _seal(
        self, batch: BatchRecord, ending: Ending, errors: list[Any] | None = None
    ) -> None:
        """Settle how a batch ends. What this gateway still computes for it counts no more."""
        self.flights.stop(batch.id)
        if await self.rows.seal(batch.id, ending, int(self._clock()), errors):
            log.info("%s: will be %s", batch.id, ending)
        self.poke()

    # ------------------------------------------------------------------ lines

    def _wanted(self) -> Counter[str]:
        now = self._time()

        def allowed(owner: str, model: str, whole: int) -> int:
            return self.flights.pace(owner, model).allowed(whole, now)

        return wanted(self._runnable(), self.flights.by_batch(), self._models.slots, allowed)

    def _runnable(self) -> list[Runnable]:
        found = []
        for batch in self._open.values():
            if batch.status != "in_progress" or batch.ending or batch.id in self._full:
                continue
            key = self._keys(batch.owner)
            if key is not None and batch.id not in self._exhausted:
                found.append(Runnable(batch, key, rank(batch, key, batch.id in self._hurried)))
        return found

    async def _exchange(self, places: Counter[str]) -> None:
        """Take results to the store, and lines from there."""
        flights = self.flights
        done, given_up = flights.done, flights.given_up
        if not (done or given_up or places):
            return
        flights.done, flights.given_up = [], []
        try:
            found = await self._lines.exchange(done, given_up, places)
        except BaseException as error:
            flights.done, flights.given_up = done + flights.done, given_up + flights.given_up
            if isinstance(error, StorageFull):
                self._fill({line.batch for line in done} or {*places}, error)
            raise
        self._exhausted -= {batch for batch, _ in given_up}
        self._count(found)
        self._start(found, places)

    def _count(self, found: Exchange) -> None:
        for id_, (completed, failed) in found.recorded.items():
            self.ended.update(completed=completed, failed=failed)
            batch = self._open.get(id_)
            if batch is None:
                continue
            batch = replace(
                batch, completed=batch.completed + completed, failed=batch.failed + failed
            )
            self._open[id_] = batch
            if batch.done >= batch.total:
                self.poke()

    def _start(self, found: Exchange, places: Counter[str]) -> None:
        taken = Counter(line.batch for line in found.taken)
        self._exhausted |= {id_ for id_, asked in places.items() if taken[id_] < asked}
        for line in found.taken:
            batch = self._open[line.batch]
            key = self._keys(batch.owner)
            assert key is not None, "it was there when the lines were asked for"
            hurried = batch.id in self._hurried
            self.flights.start(batch, line, key, rank(batch, key, hurried))

    def _on_landing(self) -> None:
        """Have results flushed when half of a model's slots have given one, or soon."""
        if self._task is None:
            return
        slots = [
            self._models.slots(each) for each in {b.model for b in self._open.values()} if each
        ]
        if self.flights.landed >= max(1, sum(map(window, slots)) // 4):
            self._wake.set()
        elif self.flights.landed == 1:
            asyncio.get_running_loop().call_later(LINGER_S, self._wake.set)

    def _fill(self, batches: set[str], error: StorageFull) -> None:
        """End batches for which the disk has no room."""
        for id_ in batches:
            log.error("%s has failed: %s", id_, error.message)
            self._full[id_] = [{"code": error.code, "message": error.message}]
            self.flights.stop(id_)
        self.flights.drop(batches)
        self._next_look = 0.0

    # ------------------------------------------------------------------ chores

    def _begin(
        self, kind: str, batch: BatchRecord, work: Callable[[BatchRecord], Awaitable[None]]
    ) -> None:
        """Begin the work of minutes on a batch, unless it is done for another, or elsewhere."""
        if kind in self._chores or self._draining or batch.gateway not in (None, self._gateway):
            return

        async def chore() -> None:
            try:
                if batch.gateway is not None or await self.rows.adopt(batch.id, self._gateway):
                    await work(batch)
            except LostBatch:
                log.info("%s: another gateway goes on with it, or it was ended", batch.id)
            except StorageFull as error:
                self._fill({batch.id}, error)
                await asyncio.sleep(AGAIN_S)
            except Unavailable as error:
                log.warning("%s waits: %s", batch.id, error.message)
                await asyncio.sleep(AGAIN_S)
            except Exception:
                log.exception("%s: a bug", batch.id)
                await asyncio.sleep(AGAIN_S)
            finally:
                self._chores.pop(kind, None)
            self.poke()

        self._chores[kind] = asyncio.create_task(chore())

    async def _validate(self, batch: BatchRecord) -> None:
        def find(name: str | None) -> str | None:
            key = self._keys(batch.owner)
            return None if key is None else self._models.find(key, name)

        reader = InputReader(self._store, self.rows, self._lines, self._longest)
        found = await reader.check(batch, find, MOST_ENQUEUED)
        now = int(self._clock())
        if isinstance(found, list):
            await self.rows.refuse(batch.id, self._gateway, found, now)
            return
        assert found.model is not None, "it has a line"
        await self.rows.validated(batch.id, self._gateway, found.model, found.lines, now)

    async def _finalize(self, batch: BatchRecord) -> None:
        if batch.id in self._full:
            await self._output.give_up(batch, self._full[batch.id])
        else:
            await self._output.finish(batch)
        left = batch.total - batch.done
        if left:
            self.ended[str(batch.ending)] += left
