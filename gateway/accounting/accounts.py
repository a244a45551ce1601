"""Usage, budgets and the store's keys of one process, with their life.

Every few seconds what was counted goes to the store, in one transaction, and the sums that other
gateways have added come back, for budgets that they share. A server that dies loses what was
counted since: :data:`PERIOD_S` seconds, and the requests that ran. While the store takes nothing,
counting goes on in memory.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.accounting.ledger import Ledger
from gateway.accounting.memory_usage import MemoryUsage
from gateway.accounting.recorder import UsageRecorder
from gateway.accounting.steps import joined, summed
from gateway.config.api_keys import Keyring
from gateway.core.errors import StorageFull, StoreOff, Unavailable
from gateway.core.usage_counts import UsageCounts, UsageKey, UsageQuestion, UsageSum
from gateway.dispatch.budgets import Budgets, Spent

if TYPE_CHECKING:  # they bring SQLAlchemy
    from gateway.accounting.stored_keys import StoredKeys
    from gateway.stored.store import Store

log = logging.getLogger("forge.usage")

PERIOD_S = 3.0
SWEEP_EVERY = 1200
"""Periods between two looks for what is too old: an hour."""


class UsageStore(Protocol):
    """A place for usage."""

    async def add(
        self,
        writer: str,
        number: int,
        sums: Mapping[UsageKey, UsageCounts],
        spent: Mapping[Spent, int],
        wanted: Collection[Spent],
    ) -> dict[Spent, int]: ...
    async def spent(self, wanted: Collection[Spent]) -> dict[Spent, int]: ...
    async def read(self, asked: UsageQuestion) -> list[UsageSum]: ...
    async def sweep(self, days: int) -> None: ...


class _Chore(NamedTuple):
    """Something that is done again and again: the log hears when it begins to fail, and when it
    works again."""

    fails: str
    works: str


WRITE = _Chore("usage is counted in memory for now", "usage is written again")
READ_KEYS = _Chore("keys are not read for now", "keys are read again")
READ_SPENT = _Chore(
    "budgets count without other servers' requests for now", "all that counts for budgets is read"
)
SWEEP = _Chore("old usage is not deleted for now", "old usage is deleted again")


class _Batch(NamedTuple):
    """Sums for one transaction of the store."""

    number: int
    sums: Mapping[UsageKey, UsageCounts]
    spent: Mapping[Spent, int]


class Accounts:
    """Lifetimes: opened after the store, and stopped before it is closed."""

    def __init__(
        self,
        keyring: Keyring,
        budgets: Budgets,
        model: str,
        store: "Store | None",
        days: int,
        clock: Callable[[], float],
        writer: str,
    ) -> None:
        """``model``: the first; ``days``: that usage is kept, 0: only budgets are counted.

        ``clock``: Unix seconds; ``writer``: a name that no other process has.
        """
        self.keyring, self.budgets, self._store = keyring, budgets, store
        self._clock, self._writer, self.days = clock, writer, days
        self._ledger = Ledger()
        self.recorder = UsageRecorder(model, self._ledger if days else None, budgets, clock)
        self.since = clock()
        """Start of this process: without a store, usage is counted since."""
        self._usage: UsageStore = MemoryUsage(clock)
        self._keys: StoredKeys | None = None
        self._number = 0
        self._batch: _Batch | None = None
        """On its way to the store, and given again until it is there."""
        self._turn = asyncio.Lock()
        self._failing = set[_Chore]()
        self._loop: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        keyring.on_change(self._on_change)

    @property
    def stored(self) -> bool:
        """True if usage outlives this process."""
        return not isinstance(self._usage, MemoryUsage)

    async def open(self) -> None:
        """Read keys and what is spent. Raises Unavailable, or StoreUnusable."""
        store = self._store
        if store is not None and not store.is_open:
            # Another server has the folder, and its keys count here, too. Each try to open the
            # store closes this again.
            await store.database.open_beside()
        if store is not None and self._keys is None:
            from gateway.accounting.stored_keys import StoredKeys  # late, as the store
            from gateway.stored.key_rows import KeyRows
            from gateway.stored.usage_rows import UsageRows

            if store.is_open:
                self._usage = UsageRows(store.database, self._clock)
            rows = KeyRows(store.database, self._clock, beside=not store.is_open)
            self._keys = StoredKeys(self.keyring, rows)
            await self._keys.look()
        await self._look()

    def start(self) -> None:
        """Begin to write."""
        if self._loop is None:
            self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what is left."""
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
            self._loop = None
            await self._try(WRITE, self.flush)

    def keys(self) -> "StoredKeys":
        """Return the keys that may be changed. Raises StoreOff."""
        if self._store is None or self._keys is None:
            raise StoreOff(
                "this server has no place for keys: start it with --data-dir FOLDER, or list them "
                "in --api-key-file"
            )
        self._store.check()
        return self._keys

    def known_keys(self) -> dict[str, int]:
        """Return the names of the store's keys, and when each was made, in Unix seconds."""
        return {} if self._keys is None else {row.name: row.created_at for row in self._keys.all}

    def now(self) -> float:
        """Return the time by which usage counts, in Unix seconds."""
        return self._clock()

    async def read(self, asked: UsageQuestion) -> list[UsageSum]:
        """Return sums, the newest first, up to this moment."""
        async with self._turn:
            stored = await self._usage.read(asked)
            here = summed(self._ledger.sums(), asked)
        return joined([*stored, *here], asked.limit)

    async def flush(self) -> None:
        """Tell the store what was counted, and hear what others have.

        Raises StorageFull or Unavailable; nothing is lost by it.
        """
        async with self._turn:
            batch = self._batch = self._batch or self._next()
            if batch.sums or batch.spent:
                sums = await self._usage.add(self._writer, *batch, self._wanted())
                self._ledger.taken()
                self.budgets.stored(batch.spent, sums)
            elif self._shared:
                await self._look()
            self._batch = None

    def _next(self) -> _Batch:
        self._number += 1
        return _Batch(self._number, self._ledger.take(), self.budgets.unstored())

    def _wanted(self) -> list[Spent]:
        names = [period.name for period in self.budgets.now()]
        return [(owner, name) for owner in self.budgets.limited() for name in names]

    async def look(self) -> None:
        """Read what is spent of each budget: a key may have got one just now."""
        async with self._turn:
            await self._look()

    async def _look(self) -> None:
        if wanted := self._wanted():
            self.budgets.stored({}, await self._usage.spent(wanted))

    def _on_change(self) -> None:
        """Read what is spent of budgets that are new. Until then they count from here."""
        if self._loop is not None:
            self._looking = asyncio.create_task(self._try(READ_SPENT, self.look))

    # ------------------------------------------------------------------ the loop

    async def _run(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(PERIOD_S)
            await self._try(WRITE, self.flush)
            if self._shared and self._keys is not None:
                await self._try(READ_KEYS, self._keys.look)
            if turn % SWEEP_EVERY == 0:
                await self._try(SWEEP, self._sweep)
            turn += 1

    @property
    def _shared(self) -> bool:
        """True if other servers may change the store's keys."""
        store = self._store
        return store is not None and (store.database.postgres or not store.is_open)

    async def _sweep(self) -> None:
        await self._usage.sweep(max(1, self.days))

    async def _try(self, chore: _Chore, work: Callable[[], Awaitable[None]]) -> None:
        """Do it, and say once that it does not work, and once that it does again."""
        try:
            await work()
        except (StorageFull, Unavailable) as error:
            if chore not in self._failing:
                log.warning("%s: %s", chore.fails, error.message)
            self._failing.add(chore)
        except Exception:  # a bug: it must not end the counting
            log.exception("%s", chore.fails)
        else:
            if chore in self._failing:
                log.info("%s", chore.works)
            self._failing.discard(chore)
