"""Reload: read the sources again, and serve what they say now, without an end for any request.

All of the sources are read and checked before anything changes; an error there changes nothing.
Then, in this order: keys, options of the server, models that are new, models that stay, and models
that are gone. Models are changed one after the other, so that memory is short for one at a time. A
model whose new workers can't start goes on as before, and the others are changed all the same.

One reload runs at a time. A signal that comes meanwhile is remembered, and what it asked for is
done afterwards, once, however many there were; a request is told to come again.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from gateway.config.api_keys import Keyring
from gateway.config.config import ConfigError
from gateway.config.live_config import LiveConfig
from gateway.config.model_entry import ModelEntry
from gateway.core.errors import (
    SHUTTING_DOWN,
    ReloadBusy,
    ReloadRefused,
    Unavailable,
)
from gateway.pool import PoolFailed
from gateway.reloading import changes, report
from gateway.reloading.report import Change, ModelChange, ReloadReport
from gateway.served.setup import Setup

log = logging.getLogger("forge.reload")

T = TypeVar("T")


class ReloadedModels(Protocol):
    """The models of a server, as a reload changes them."""

    @property
    def several(self) -> bool:
        """Return whether models come and go; else the one is always loaded."""
        ...

    def names(self) -> list[str]:
        """Return the names of the configured models."""
        ...

    async def change(
        self, name: str, entry: ModelEntry, *, shares: bool
    ) -> tuple[Change, str | None]:
        """Serve a model as ``entry`` says. Raises PoolFailed or ConfigError; it goes on then.

        ``shares``: there are more models than before, or fewer.
        """
        ...

    async def add(self, entry: ModelEntry) -> None:
        """Serve one model more. Raises ConfigError if it can never be loaded."""
        ...

    def waiting(self) -> str | None:
        """Return what a change waits for, in words; None: for no request."""
        ...

    def retire(self, name: str) -> None:
        """Take nothing new for a model, and forget it once its requests have ended."""
        ...

    def arrange(self, names: list[str]) -> None:
        """Put the models in this order; the first is the default."""
        ...

    def bound(self, requests: int, size: int) -> None:
        """Set the bounds on what waits."""
        ...


class Reloader:
    """A server's reloads, one after the other."""

    def __init__(
        self,
        read: Callable[[], Setup] | None,
        live: LiveConfig,
        keyring: Keyring,
        models: ReloadedModels,
        draining: Callable[[], bool],
    ) -> None:
        """``read``: the sources; None: this server has none, and reloads nothing."""
        self._read = read
        self._live = live
        self._keyring = keyring
        self._models = models
        self._draining = draining
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._ready = False
        """True once the server has started: before that there is nothing to replace."""
        self._began_s = 0.0
        self._report = report.none()
        self._on_begin: Callable[[], None] = lambda: None
        self._on_end: Callable[[str], None] = lambda how: None

    def tells(self, begun: Callable[[], None], ended: Callable[[str], None]) -> None:
        """Call these at the begin and at the end of each reload; the end brings a summary."""
        self._on_begin, self._on_end = begun, ended

    def ready(self) -> None:
        """Take reloads from now on, and do what a signal has asked for before."""
        self._ready = True
        if self._again:
            self._again = False
            self.signalled()

    @property
    def running(self) -> bool:
        """Return whether one runs."""
        return self._task is not None and not self._task.done()

    @property
    def report(self) -> ReloadReport:
        """Return the state of the reload that runs, or the result of the last one."""
        if self.running:
            waiting = self._models.waiting()
            return {**self._report, "seconds": self._seconds(), "waiting": waiting}
        return self._report

    def begin(self, only: str | None = None) -> None:
        """Begin one; ``only``: of this model alone.

        Raises Unavailable at the server's end, ReloadRefused if there are no sources, ReloadBusy.
        """
        if self._draining():
            raise Unavailable(SHUTTING_DOWN, retry_after=5)
        if not self._ready:
            raise Unavailable("the server is starting", retry_after=5)
        if self._read is None:
            raise ReloadRefused("this server was made without sources of options to read again")
        if self.running:
            raise ReloadBusy(
                "a reload is running; GET /models/reload tells how far it is", retry_after=1
            )
        self._report = {**report.none(), "state": "running"}
        self._began_s = time.monotonic()
        self._on_begin()
        self._task = asyncio.create_task(self._run(only))

    async def wait(self) -> ReloadReport:
        """Return the result of the reload that runs; it goes on if the caller is cancelled."""
        if self._task is not None:
            await asyncio.wait({self._task})
        return self.report

    def signalled(self) -> None:
        """Begin one because of a signal, now or after the one that runs."""
        if self.running or not self._ready:
            self._again = True
            return
        try:
            self.begin()
        except (Unavailable, ReloadRefused) as error:
            log.warning("no reload: %s", error)

    async def stop(self) -> None:
        """Give up the one that runs: the server ends."""
        self._again = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # ------------------------------------------------------------------ one reload

    async def _run(self, only: str | None) -> None:
        assert self._read is not None, "begin() has looked"
        while True:
            try:
                await self._apply(await aside(self._read), only)
                self._report["state"] = "done"
            except ConfigError as error:
                self._report |= {"state": "refused", "error": str(error)}
            except Exception:  # a bug: the next reload may still do better
                log.exception("reload: a bug")
                self._report |= {"state": "failed", "error": "an internal error, which the log has"}
            self._report["seconds"] = self._seconds()
            bad = self._report["error"] is not None or report.failures(self._report)
            told = report.summary(self._report)
            log.log(logging.ERROR if bad else logging.INFO, "%s", told)
            if not self._again:
                self._on_end(told)
                return
            self._again, only = False, None
            self._report = {**report.none(), "state": "running"}
            self._began_s = time.monotonic()

    async def _apply(self, setup: Setup, only: str | None) -> None:
        """Raises ConfigError, and has changed nothing then."""
        found = changes.of_server(self._live.now, setup.config)
        names = self._models.names()
        restart = list(found.restart)
        if bool(setup.entries) != self._models.several:
            restart.append("models")
            kept = changes.ModelChanges((), (), ())
        elif self._models.several:
            kept = changes.of_models(names, setup.models, only)
        else:  # the one may have another name
            kept = changes.ModelChanges((), (), setup.models)
        if only is not None:
            self._check_name(only, names, setup)
        else:
            self._take_keys(setup)
            self._live.now = found.config
            self._models.bound(found.config.max_queue, found.config.max_queue_bytes)
            self._report |= {"options": list(found.live), "restart": restart}
        for entry in kept.added:
            await self._add(changes.settled(entry, self._live.now))
        for entry in kept.kept:
            await self._change(entry, setup, names)
        for name in kept.retired:
            self._models.retire(name)
            self._tell(name, "retired", None)
        if only is None and self._models.several:
            self._models.arrange([entry.name for entry in setup.models])

    def _check_name(self, only: str, names: list[str], setup: Setup) -> None:
        if only not in names and only not in {entry.name for entry in setup.models}:
            raise ConfigError(f"'{only}' is no configured model, and none that is new")

    def _take_keys(self, setup: Setup) -> None:
        before = set(self._keyring.given)
        if before != set(setup.keys):
            self._keyring.replace(setup.keys)
            self._report["keys"] = True

    async def _add(self, entry: ModelEntry) -> None:
        try:
            await self._models.add(entry)
        except ConfigError as error:
            self._tell(entry.name, "failed", str(error))
        else:
            self._tell(entry.name, "added", None)

    async def _change(self, entry: ModelEntry, setup: Setup, names: list[str]) -> None:
        entry = changes.settled(entry, self._live.now)
        name = entry.name if self._models.several else names[0]
        try:
            shares = len(names) != len(setup.models)
            change, reason = await self._models.change(name, entry, shares=shares)
        except (ConfigError, PoolFailed) as error:
            self._tell(name, "failed", str(error))
        else:
            self._tell(entry.name, change, reason)

    def _tell(self, model: str, change: Change, reason: str | None) -> None:
        told: ModelChange = {"model": model, "change": change, "reason": reason}
        self._report["models"].append(told)

    def _seconds(self) -> float:
        return round(time.monotonic() - self._began_s, 3)


async def aside(work: Callable[[], T]) -> T:
    """Do what blocks in a thread that the process's end does not wait for: it may download."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(set_: Callable[[], None]) -> None:
        if not done.done():
            set_()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 (whatever it is, the event loop raises it)
            failure = error
            loop.call_soon_threadsafe(tell, lambda: done.set_exception(failure))
        else:
            loop.call_soon_threadsafe(tell, lambda: done.set_result(result))

    threading.Thread(target=run, name="forge-reload", daemon=True).start()
    return await done
