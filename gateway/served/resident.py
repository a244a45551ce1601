"""A model that is loaded and unloaded: what it needs, and what is going on with it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.clock import NANO
from gateway.core.errors import ForgeError
from gateway.dispatch.dispatcher import Dispatcher
from gateway.served.load_policy import Facts
from gateway.served.swappable_pool import SwappablePool


@dataclass(frozen=True, slots=True)
class LoadNeed:
    """The memory that loading a model takes."""

    bytes: int
    check: Callable[[], None] = lambda: None
    """Raises :class:`ConfigError` if there is too little memory for it now."""


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that is loaded and unloaded."""

    name: str
    need: LoadNeed | Callable[[], LoadNeed]
    """Its memory; or how to find that out, which takes long and raises :class:`ConfigError`."""
    keep_alive_s: float | None
    """Time that it stays without work; None: until another model needs its memory."""
    pool: SwappablePool

    @property
    def keep_alive_ns(self) -> int | None:
        return None if self.keep_alive_s is None else round(self.keep_alive_s * NANO)

    @property
    def known_need(self) -> int | None:
        """Bytes, once they are known."""
        return self.need.bytes if isinstance(self.need, LoadNeed) else None


def no_more(name: str) -> str:
    """Return the answer to a request that has a model in hand which was removed."""
    return f"the model '{name}' is served no more"


class KeptModel:
    """Tasks and waiting requests of one model."""

    def __init__(self, resident: Resident, dispatcher: Dispatcher) -> None:
        self.resident = resident
        self.pool = resident.pool
        self.dispatcher = dispatcher
        self.waiting: dict[asyncio.Future[None], int] = {}
        """Requests that wait for it outside of its queue, each with the key it would have in it."""
        self.using = 0
        """Number of those requests that use it now."""
        self.unload_waits: list[asyncio.Future[None]] = []
        """Waits for it to be unloaded."""
        self.task: asyncio.Task[None] | None = None
        """Measures, loads or unloads it."""
        self.pause: asyncio.TimerHandle | None = None
        """Ends the pause after the last load that failed."""
        self.yields = False
        """True: none of them is admitted, so that what runs comes to an end."""

    def take(self, resident: Resident, dispatcher: Dispatcher) -> None:
        """Go on with other workers and another queue."""
        self.resident, self.pool, self.dispatcher = resident, resident.pool, dispatcher

    def facts(self) -> Facts:
        keys = [*self.waiting.values()]
        first = self.dispatcher.stats.first_key()
        if first is not None:
            keys.append(first)
        stats = self.dispatcher.stats
        spare = stats.spare_running()
        used = stats.running() > spare or self.using > 0
        # A cancelled request has no slot any more, but its worker may still compute.
        return Facts(
            first=min(keys, default=None),
            running=used or spare > 0 or self.pool.busy,
            held=stats.paused() > 0,
            spare_waits=stats.spare_depth() > 0,
            spare_runs=spare > 0 and not used,
            cramped=self.pool.cramped,
        )

    def admit(self) -> None:
        """Let the requests that wait for this model outside of its queue use it."""
        for request in self.waiting:
            if not request.done():
                request.set_result(None)
                self.using += 1
        self.waiting.clear()

    def fail_waiting(self, error: ForgeError) -> None:
        """Fail them instead."""
        for request in self.waiting:
            if not request.done():
                request.set_exception(error)
        self.waiting.clear()

    def tell_unloaded(self) -> None:
        """End the waits for the model to be unloaded."""
        for wait in self.unload_waits:
            if not wait.done():
                wait.set_result(None)
        self.unload_waits.clear()
