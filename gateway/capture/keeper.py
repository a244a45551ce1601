"""Recordings that have ended, on their way into the store: never in the way of an answer.

They wait in memory, within the budget of all recordings. A task takes some at a time, has them made
into rows in a thread, and writes those in one transaction. What can't be written is dropped and
counted: a full disk, a locked database or a slow one costs captures, and no request.
"""

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from starlette.types import Scope

from gateway.capture.making import EndedRecording
from gateway.capture.recording import FIXED, HeldBytes, Recording
from gateway.core.errors import ForgeError
from gateway.dispatch.attempts import told_attempts
from gateway.dispatch.figures import figures
from gateway.dispatch.outcome import Outcome, of_ticket
from gateway.dispatch.ticket import Ticket, request_name
from gateway.stored.captures import StoredCapture
from gateway.stored.errors import StatementFailed
from gateway.stored.ids import new_id
from gateway.stored.incoming import Clock

log = logging.getLogger("forge.capture")

AT_ONCE, AT_ONCE_BYTES = 32, 4 << 20
"""Rows of one transaction, and bytes after which no more are taken into it."""
GATHER_S = 0.05
"""Seconds in which captures gather before they are written: a commit costs more than a row."""
LAST_S = 5.0
"""Seconds at the server's end in which what waits may be written."""
KEPT, DROPPED = "kept", "dropped"


class Rows(Protocol):
    """The store, as far as it is written here."""

    async def insert(self, rows: Sequence[StoredCapture]) -> None: ...


class Makes(Protocol):
    """Makes a row."""

    def row(self, ended: EndedRecording) -> StoredCapture: ...


class CaptureKeeper:
    """Begins recordings, and keeps those that have ended.

    Lifetimes: made with the gateway, works from :meth:`start` to :meth:`stop`.
    """

    def __init__(
        self, rows: Rows, makes: Makes, budget: HeldBytes, most: int, clock: Clock
    ) -> None:
        """``most``: bytes of a body."""
        self._rows, self._makes, self._budget = rows, makes, budget
        self._most, self._clock = most, clock
        self._waiting: deque[EndedRecording] = deque()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._counts = Counter[str]()
        self._told = False
        """True if the log has the reason why captures are dropped for now."""

    def counts(self) -> Counter[str]:
        """Return how many were kept and dropped since the start."""
        return self._counts

    @property
    def working(self) -> bool:
        return self._task is not None

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Write what waits, unless that takes long."""
        task, self._task = self._task, None
        if task is None:
            return
        self._stopping.set()
        self._wake.set()
        await asyncio.wait({task}, timeout=LAST_S)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        self._drop(len(self._waiting), "the server ends")

    def begin(self, group: str, scope: Scope) -> Recording | None:
        """Return the recording of a request; None: there is no room for one."""
        if self._task is None or not self._budget.take(FIXED):
            self._drop(1, "too many run or wait to be written")
            return None
        return Recording(new_id("cap_"), group, scope, self._clock(), self._budget, self._most)

    def end(self, recording: Recording, state: Mapping[str, Any]) -> None:
        """Keep what is known of a request that has ended."""
        try:
            self._waiting.append(ended(recording, state, self._clock()))
        except Exception:  # a bug: it must not reach the client
            log.exception("a capture is dropped: its end could not be noted")
            self._counts[DROPPED] += 1
            self._budget.give(recording.charged)
        self._wake.set()

    async def _work(self) -> None:
        while not self._stopping.is_set() or self._waiting:
            await self._wake.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GATHER_S):
                    await self._stopping.wait()
            while self._waiting:
                await self._write(self._some())
            if not self._stopping.is_set():
                self._wake.clear()

    def _some(self) -> list[EndedRecording]:
        """Take what is written next: what is made of it is in memory at the same time."""
        some, size = list[EndedRecording](), 0
        while self._waiting and len(some) < AT_ONCE and size < AT_ONCE_BYTES:
            some.append(self._waiting.popleft())
            size += some[-1].recording.charged
        return some

    async def _write(self, some: Sequence[EndedRecording]) -> None:
        rows: Sequence[StoredCapture] = ()
        try:
            rows = await asyncio.to_thread(self._made, some)
            if rows:
                await self._rows.insert(rows)
            self._counts[KEPT] += len(rows)
            self._counts[DROPPED] += len(some) - len(rows)
            self._told &= not rows
        except ForgeError as error:
            self._drop(len(some), error.message)
        except Exception as error:  # noqa: BLE001 (whatever it is, it must not end the later ones)
            self._drop(len(some), _kind(error))
        finally:
            self._budget.give(sum(each.recording.charged for each in some))

    def _made(self, some: Sequence[EndedRecording]) -> list[StoredCapture]:
        rows = []
        for each in some:
            try:
                rows.append(self._makes.row(each))
            except Exception:  # a bug: it must not take the others with it
                log.exception("a capture is dropped: it could not be made")
        return rows

    def _drop(self, number: int, reason: str) -> None:
        self._counts[DROPPED] += number
        if number and not self._told:
            self._told = True
            log.warning("captures are dropped: %s", reason)


def _kind(error: Exception) -> str:
    """Name an error: its text may have what clients wrote in it, which is not for the log."""
    return error.kind if isinstance(error, StatementFailed) else type(error).__name__


def ended(recording: Recording, state: Mapping[str, Any], now_s: float) -> EndedRecording:
    """Return a recording with what its request has left in the state."""
    ticket: Ticket | None = state.get("ticket")
    error: tuple[str, str] | None = state.get("failed")
    if ticket is not None and ticket.error is not None:
        error = ticket.error.code, ticket.error.message
    generates = ticket is not None and ticket.job.params.generates
    return EndedRecording(
        recording,
        owner=state["key"].name,
        request_id=request_name({**state}),
        ended_s=now_s,
        model="" if ticket is None else ticket.job.model,
        outcome=_outcome(recording, ticket),
        error=error,
        figures={} if ticket is None else {**figures(ticket), **told_attempts(ticket)},
        seed=ticket.job.params.sampling.seed if ticket is not None and generates else None,
    )


def _outcome(recording: Recording, ticket: Ticket | None) -> Outcome:
    """Return the end of a request, which may never have become a ticket."""
    if ticket is not None and ticket.ended:
        return of_ticket(ticket)
    if recording.hung_up:
        return "cancelled"
    if recording.status in (429, 503):
        return "rejected"
    if recording.status == 504:
        return "expired"
    if 400 <= recording.status < 500:
        return "invalid"
    return "finished" if recording.complete and recording.status < 400 else "failed"
