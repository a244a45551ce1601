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
from collections.abc import Awaitable, Callable

from gateway.batches.batch_store import BatchStore
from gateway.batches.checking import InputReader
from gateway.batches.chores import Chores
from gateway.batches.danger import in_danger
from gateway.batches.line_feed import LineFeed
from gateway.batches.line_store import LineStore, LostBatch
from gateway.batches.membership import BEAT_S, Membership
from gateway.batches.output_files import OutputWriter
from gateway.batches.protocols import BatchModels, Endpoints, FindKey
from gateway.batches.record import BatchRecord, Ending
from gateway.batches.validation import MOST_ENQUEUED, BatchProblem
from gateway.core.api_key import ApiKey
from gateway.core.errors import StorageFull, Unavailable
from gateway.stored.store import Store

log = logging.getLogger("forge.batches")

LOOK_S = 1.0
"""Between two looks at all batches: other gateways and the clock change them, too."""
GRACE_S = 10
"""Time that the lines in flight of a cancelled batch have to end."""
DRAIN_S = 5.0
"""The same when the server ends."""
STOP_S = 10.0
"""The longest that a store that does not answer delays the end."""
AGAIN_S = 1.0
"""Between two attempts at a store that does not answer or has no room."""
REMEMBERED_S = 30 * 86400
"""Age of batches that are forgotten, if they have ended."""
FORGET_S = 3600.0
VALIDATING, FINALIZING = "validating", "finalizing"


class BatchRunner:
    """Runs batches. Lifetimes: ``start``, then ``drain``, or ``stop`` at once."""

    def __init__(
        self,
        store: Store,
        endpoints: Endpoints,
        keys: FindKey,
        models: BatchModels,
        longest: Callable[[], int],
    ) -> None:
        """``longest`` returns the bytes that a line may have, which a reload may change."""
        self._store, self._models, self._longest = store, models, longest
        self._clock = store.clock
        self.rows = BatchStore(store.database)
        self._wake = asyncio.Event()
        self._chores = Chores(self.poke)
        self.feed = LineFeed(endpoints, keys, models, self._wake.set)
        self._task: asyncio.Task[None] | None = None
        self._draining = False
        self._next_look = self._next_beat = self._next_forgetting = -math.inf
        self._be_another()

    def _be_another(self) -> None:
        """Begin as a gateway that has nothing."""
        self._gateway = f"gateway-{secrets.token_hex(12)}"
        self._lines = LineStore(self._store.database, self._gateway)
        self._membership = Membership(self._store.database, self._gateway)
        self._output = OutputWriter(self._store, self._lines, self._gateway)
        self._joined = False

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Begin, or go on with what the store has."""
        self._task = asyncio.create_task(self._run())

    def poke(self) -> None:
        """Look at all batches now: one was made, or changed."""
        self._next_look = -math.inf
        self._wake.set()

    async def drain(self) -> None:
        """Take nothing new; give the lines in flight a moment, and the rest back to the store."""
        self._draining = True
        if self._task is not None:
            await self.feed.flights.settled(DRAIN_S)
        await self.stop()

    async def stop(self) -> None:
        """End now. Lines in flight wait again."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self._wake.set()
        await asyncio.wait([task], timeout=STOP_S)  # not cancelled yet: it may be in a transaction
        task.cancel()
        await self._chores.stop()
        self.feed.flights.stop()
        await self.feed.flights.settled()
        try:
            async with asyncio.timeout(STOP_S):
                await self.feed.exchange(self._lines, take=False)
                await self._membership.leave()
        except (StorageFull, Unavailable, TimeoutError) as error:
            log.warning("batches: not all results could be noted: %s", error)

    async def _run(self) -> None:
        while self._task is not None:
            self._wake.clear()
            try:
                await self._turn()
            except (StorageFull, Unavailable) as error:
                log.warning("batches wait: %s", error.message)
                await asyncio.sleep(AGAIN_S)
            except Exception:  # it must not end the batches of all keys until a restart
                log.exception("batches: a bug")
                await asyncio.sleep(AGAIN_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._pause())

    def _pause(self) -> float | None:
        """Return the seconds to the next turn; None: until something happens."""
        if self.feed.batches:
            return max(0.0, self._next_look - _time())
        return BEAT_S if self._store.database.postgres else None

    # ------------------------------------------------------------------ a turn

    async def _turn(self) -> None:
        await self._stay_member()
        if _time() >= self._next_look:
            self._next_look = _time() + LOOK_S
            await self._look()
        if await self.feed.exchange(self._lines, take=not self._draining):
            self.poke()

    async def _stay_member(self) -> None:
        """Join, and show the other gateways that this one is alive."""
        if self._joined and _time() < self._next_beat:
            return
        if self._joined and not await self._membership.beat():
            log.warning("the other gateways took this one for dead; it begins anew")
            await self._chores.stop()
            self.feed.flights.stop()
            await self.feed.flights.settled()
            self.feed.flights.drop({*self.feed.batches})
            await self._membership.leave()
            self._be_another()
        if not self._joined:
            await self._membership.join()
            self._joined = True
        self._next_beat = _time() + BEAT_S if self._store.database.postgres else math.inf

    async def _look(self) -> None:
        """Look after each open batch."""
        self.feed.look(await self.rows.open())
        for batch in self._chores.in_turn([*self.feed.batches.values()]):
            await self._look_after(batch)
        if _time() >= self._next_forgetting:
            self._next_forgetting = _time() + FORGET_S
            await self.rows.forget_before(int(self._clock()) - REMEMBERED_S)

    async def _look_after(self, batch: BatchRecord) -> None:
        now, full = self._clock(), self.feed.full
        if batch.ending is not None:
            self.feed.flights.stop(batch.id)
            self._begin(FINALIZING, batch, self._finalize)
        elif batch.id in full:
            await self._seal(batch, "failed", full[batch.id])
            del full[batch.id]  # there may be room for its output
        elif batch.status == "cancelling":
            over = now >= (batch.cancelling_at or 0) + GRACE_S
            if over or not await self._lines.any_taken(batch.id):
                await self._seal(batch, "cancelled")
        elif now >= batch.expires_at:
            await self._seal(batch, "expired")
        elif batch.status == "in_progress" and batch.done >= batch.total:
            await self._seal(batch, "completed")
        elif (key := self.feed.key(batch)) is None:
            self.feed.flights.stop(batch.id)  # revoked: it waits for its expiry
        elif batch.status == "validating":
            self._begin(VALIDATING, batch, self._validate)
        else:
            self._judge(batch, key, now)

    def _judge(self, batch: BatchRecord, key: ApiKey, now: float) -> None:
        """Let a batch hurry that would expire before it is done, and no other."""
        before = batch.id in self.feed.hurried
        begun = batch.in_progress_at or now
        total, done = batch.total, batch.done
        hurried = in_danger(
            now=now, begun=begun, expires=batch.expires_at, total=total, done=done, before=before
        )
        if hurried and not before:
            log.info("%s: may expire before it is done; its lines hurry", batch.id)
            self.feed.hurry(batch, key)
        elif not hurried:
            self.feed.hurried.discard(batch.id)

    async def _seal(
        self, batch: BatchRecord, ending: Ending, errors: list[BatchProblem] | None = None
    ) -> None:
        """Settle how a batch ends. What is still computed for it counts no more."""
        self.feed.flights.stop(batch.id)
        await self.rows.seal(batch.id, ending, int(self._clock()), errors)
        self.poke()

    # ------------------------------------------------------------------ work of minutes

    def _begin(
        self, kind: str, batch: BatchRecord, work: Callable[[BatchRecord], Awaitable[None]]
    ) -> None:
        """Begin to validate or to finalize, unless it is done for another batch, or elsewhere."""
        if not (
            self._chores.busy(kind) or self._draining or batch.gateway not in (None, self._gateway)
        ):
            self._chores.begin(kind, batch.owner, self._chore(batch, work))

    async def _chore(
        self, batch: BatchRecord, work: Callable[[BatchRecord], Awaitable[None]]
    ) -> None:
        try:
            sealed = batch.ending is not None
            mine = batch.gateway is not None
            if mine or await self.rows.adopt(batch.id, self._gateway, sealed=sealed):
                await work(batch)
            return
        except LostBatch:  # another gateway goes on with it, or it was done or cancelled meanwhile
            return
        except StorageFull as error:
            self.feed.fill([batch.id], error)
        except Unavailable as error:
            log.warning("%s waits: %s", batch.id, error.message)
        except Exception:  # likewise; other batches are validated and finalized
            log.exception("%s: a bug", batch.id)
        await asyncio.sleep(AGAIN_S)

    async def _validate(self, batch: BatchRecord) -> None:
        def find(name: str | None) -> str | None:
            key = self.feed.key(batch)
            return None if key is None else self._models.find(key, name)

        reader = InputReader(self._store, self.rows, self._lines, self._longest())
        found = await reader.check(batch, find, MOST_ENQUEUED)
        now = int(self._clock())
        if isinstance(found, list):
            await self.rows.refuse(batch.id, self._gateway, found, now)
            return
        assert found.model is not None, "it has a line"
        await self.rows.validated(batch.id, self._gateway, found.model, found.lines, now)

    async def _finalize(self, batch: BatchRecord) -> None:
        if batch.id in self.feed.full:
            await self._output.give_up(batch, self.feed.full[batch.id])
        else:
            await self._output.finish(batch)
        if left := batch.total - batch.done:
            self.feed.ended[str(batch.ending)] += left


def _time() -> float:
    return asyncio.get_running_loop().time()
