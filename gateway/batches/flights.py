"""The lines in flight: asked, and not answered yet. A task each.

A line leaves with a result, or to wait again: refused for now, or stopped. Both are gathered until
the runner takes them to the store.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import orjson

from gateway.batches.answers import (
    FIRST_WAIT_S,
    TokenCounts,
    Verdict,
    never_run,
    request_name,
    result_line,
    tokens,
    verdict,
)
from gateway.batches.feeding import Rank
from gateway.batches.pace import LinePace
from gateway.batches.protocols import Endpoints
from gateway.batches.record import BatchRecord, DoneLine, TakenLine
from gateway.core.api_key import ApiKey

log = logging.getLogger("forge.batches")


@dataclass(frozen=True, slots=True, eq=False)
class Flight:
    """One line, and what it counts against."""

    line: TakenLine
    endpoint: str
    key: ApiKey
    model: str
    priority: float
    spare: bool
    origin: str
    """The span of the request that made the batch; "": there is none."""

    @property
    def name(self) -> str:
        return request_name(self.line.batch, self.line.number)


class Flights:
    """All lines in flight of this gateway. Lifetimes: each task ends by itself or by a stop."""

    def __init__(
        self, endpoints: Endpoints, clock: Callable[[], float], on_landing: Callable[[], None]
    ) -> None:
        """``clock``: seconds, of which only differences count; ``on_landing``: one has left."""
        self._endpoints, self._clock, self._on_landing = endpoints, clock, on_landing
        self._tasks: dict[Flight, asyncio.Task[DoneLine | None]] = {}
        self._paces: dict[tuple[str, str], LinePace] = {}
        self.done = list[DoneLine]()
        self.given_up = list[tuple[str, int]]()
        self.retried = 0
        """Tries that were not the last."""

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def landed(self) -> int:
        """Lines that the store has not heard of."""
        return len(self.done) + len(self.given_up)

    def lines(self) -> set[tuple[str, int]]:
        """Return all lines that are here, by batch and number."""
        flying = {(flight.line.batch, flight.line.number) for flight in self._tasks}
        return flying | {(each.batch, each.number) for each in self.done} | {*self.given_up}

    def by_batch(self) -> Counter[str]:
        """Return how many lines of each batch are in flight."""
        return Counter(flight.line.batch for flight in self._tasks)

    def pace(self, owner: str, model: str) -> LinePace:
        """Return the pace of an owner's lines for a model."""
        return self._paces.setdefault((owner, model), LinePace())

    def keep_paces(self, used: Iterable[tuple[str, str]]) -> None:
        """Forget the paces of owners that have no batch any more."""
        kept = {*used}
        self._paces = {pair: pace for pair, pace in self._paces.items() if pair in kept}

    def start(self, batch: BatchRecord, line: TakenLine, key: ApiKey, rank: Rank) -> None:
        """Ask for a line's answer."""
        model, origin = batch.model or "", batch.origin or ""
        flight = Flight(line, batch.endpoint, key, model, rank.priority, rank.spare, origin)
        task = asyncio.create_task(self._answered(flight))
        self._tasks[flight] = task
        task.add_done_callback(partial(self._land, flight))

    def hurry(self, batch: str, priority: float) -> None:
        """Let the lines of a batch wait as ordinary requests do."""
        for flight in self._tasks:
            if flight.line.batch == batch:
                self._endpoints.raise_priority(flight.name, priority)

    def stop(self, batch: str | None = None) -> None:
        """End the lines of a batch, or all: they wait again."""
        for flight, task in self._tasks.items():
            if batch is None or flight.line.batch == batch:
                task.cancel()

    async def settled(self, timeout: float | None = None) -> None:
        """Wait until no line is in flight, or so many seconds."""
        if self._tasks:
            await asyncio.wait([*self._tasks.values()], timeout=timeout)
            await asyncio.sleep(0)  # for what their ends call

    def drop(self, batches: set[str]) -> None:
        """Forget what landed of batches that take no results any more."""
        self.done = [each for each in self.done if each.batch not in batches]
        self.given_up = [each for each in self.given_up if each[0] not in batches]

    # ------------------------------------------------------------------ one line

    async def _answered(self, flight: Flight) -> DoneLine | None:
        """Return the result of a line; None if it was refused for now."""
        line, tries = flight.line, 0
        body = orjson.loads(line.body)
        while True:
            tries += 1
            answer = await self._endpoints.call(
                flight.key,
                flight.endpoint,
                body,
                flight.priority,
                flight.spare,
                flight.name,
                flight.origin,
            )
            judged = verdict(answer, tries, timeout=body.get("timeout") is not None)
            if judged.kind != "broken":
                break
            self.retried += 1
            await asyncio.sleep(FIRST_WAIT_S)
        if judged.kind == "refused":
            self._refused(flight, judged)
            return None
        self.pace(flight.key.name, flight.model).answered()
        name = answer.headers.get("x-request-id", flight.name)
        told = result_line(line.batch, line.number, line.custom_id, answer, name)
        ok = judged.kind == "done"
        return DoneLine(line.batch, line.number, ok, told, tokens(answer.body))

    def _refused(self, flight: Flight, judged: Verdict) -> None:
        self.retried += 1
        self.pace(flight.key.name, flight.model).refused(judged.wait_s, self._clock())

    def _land(self, flight: Flight, task: "asyncio.Task[DoneLine | None]") -> None:
        del self._tasks[flight]
        line = flight.line
        if task.cancelled():
            result = None
        elif (error := task.exception()) is not None:
            log.error("a line of %s: a bug", line.batch, exc_info=error)
            told = never_run(
                line.batch, line.number, line.custom_id, "internal_error", "internal error"
            )
            result = DoneLine(line.batch, line.number, False, told, TokenCounts())
        else:
            result = task.result()
        if result is None:
            self.given_up.append((line.batch, line.number))
        else:
            self.done.append(result)
        self._on_landing()
