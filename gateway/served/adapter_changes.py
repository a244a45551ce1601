"""LoRA adapters of a server's models come and go: at the start, and by admins while it runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from gateway.config.adapter_options import NAME
from gateway.config.config import Config, ConfigError
from gateway.core.errors import BadRequest, ForgeError, NotFound, NotOffered
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket
from gateway.model_files.lora import Unfit
from gateway.pool import AdapterRefused, Pool
from gateway.served.adapter_files import OpenedAdapter, opened, opened_below
from gateway.served.registry import ModelRegistry
from gateway.served.served_model import ServedModel

log = logging.getLogger("forge.models")

MOST = 256
"""Adapters of one model, at most: each takes memory in each worker."""


class WantedAdapter(NamedTuple):
    """An adapter of the configuration."""

    option: str
    name: str
    file: Path
    usual: float


def wanted(config: Config) -> Iterator[WantedAdapter]:
    """Yield the adapters that a model's options name: llama-server's first, as there."""
    apply = not config.lora_init_without_apply
    for option, each in (
        *(("--lora", each) for each in config.lora),
        *(("--lora-scaled", each) for each in config.lora_scaled),
    ):
        name = each.file.stem.encode("utf-8", "replace").decode()
        yield WantedAdapter(option, name, each.file, each.scale if apply else 0.0)
    for named in config.adapters:
        yield WantedAdapter("--adapters", named.name, named.file, 0.0)


class AdapterChanges:
    """All adapters of a server. Its methods are called in the event loop."""

    def __init__(self, registry: ModelRegistry, folder: Path | None) -> None:
        """Open those of the configuration. Raises ConfigError, and blocks.

        ``folder``: --lora-dir.
        """
        self._registry = registry
        self._folder = folder
        self._change = asyncio.Lock()
        self._forgetting: set[asyncio.Task[None]] = set()
        try:
            for base in registry.models:
                for each in wanted(base.config):
                    self._open(base, each)
        except BaseException:
            self.close()
            raise

    def _open(self, base: ServedModel, each: WantedAdapter) -> None:
        if self._registry.taken(each.name):
            raise ConfigError(f"{each.option}: '{each.name}' names two of the models and adapters")
        try:
            found = opened(each.file, base.config.model, _copies(base.config))
        except Unfit as error:
            raise ConfigError(f"{each.option}: {error}") from error
        self._take(base, each.name, found, each.usual)

    def _take(self, base: ServedModel, name: str, found: OpenedAdapter, usual: float) -> None:
        self._registry.adapt(base, base.adapters.add(name, found, usual))

    async def start(self) -> None:
        """Tell the pools of them, before they start."""
        for base in self._registry.models:
            if base.adapters:
                await base.pool.adapt(base.adapters.files)

    # ------------------------------------------------------------------ a reload

    @asynccontextmanager
    async def handed_on(self, base: ServedModel, pool: Pool) -> AsyncIterator[None]:
        """Let other workers of a model have its adapters; none comes or goes meanwhile."""
        async with self._change:
            if base.adapters:
                await pool.adapt(base.adapters.files)
            yield

    async def begin(self, base: ServedModel) -> None:
        """Open the adapters of a model that a reload has brought. Raises ConfigError."""
        async with self._change:
            try:
                for each in wanted(base.config):
                    self._open(base, each)
            except BaseException:
                self.end(base)
                raise
            if base.adapters:
                await base.pool.adapt(base.adapters.files)

    async def check(self, base: ServedModel, config: Config) -> None:
        """Raise ConfigError unless :meth:`reread` could have the adapters of ``config``."""
        async with self._change:
            before = {each.name for each in wanted(base.config)}
            for new, _ in (await self._opened_anew(config, before)).values():
                new.close()

    async def reread(self, base: ServedModel, config: Config) -> bool:
        """Have the adapters that ``config`` names in the place of those that were configured.

        Those that admins have loaded stay. A request that was accepted keeps its own to its end.
        Returns whether anything was different. Raises ConfigError: then all is as before.
        """
        async with self._change:
            before = {each.name: each.usual for each in wanted(base.config)}
            found = await self._opened_anew(config, before)
            kept = {
                name
                for name, (new, usual) in found.items()
                if _has(base, name, new) and before.get(name) == usual
            }
            gone = [each.name for each in base.adapters if each.name in before.keys() - kept]
            for name in kept:
                found.pop(name)[0].close()
            if not found and not gone:
                return False
            try:
                more = [new.file for new, _ in found.values()]
                files = {each.digest: each for each in (*base.adapters.files, *more)}
                await base.pool.adapt([*files.values()])
            except BaseException as error:
                for new, _ in found.values():
                    new.close()
                if isinstance(error, AdapterRefused):
                    raise ConfigError(f"an adapter: {error}") from error
                raise
            for name in gone:
                self._registry.forget_adapter(name)
                base.adapters.remove(name)
            for name, (new, usual) in found.items():
                self._take(base, name, new, usual)
            await self._forget(base)
            return True

    async def _opened_anew(
        self, config: Config, before: Collection[str]
    ) -> dict[str, tuple[OpenedAdapter, float]]:
        """Open the adapters that a configuration names. Raises ConfigError, and leaves none open.

        ``before``: the names that the configuration had so far.
        """
        found = dict[str, tuple[OpenedAdapter, float]]()
        model, workers = config.model, _copies(config)
        try:
            for each in wanted(config):
                if each.name in found or (
                    each.name not in before and self._registry.taken(each.name)
                ):
                    raise ConfigError(
                        f"{each.option}: '{each.name}' names two of the models and adapters"
                    )
                new = await asyncio.to_thread(opened, each.file, model, workers)
                found[each.name] = new, each.usual
        except BaseException as error:
            for new, _ in found.values():
                new.close()
            if isinstance(error, Unfit):
                raise ConfigError(f"an adapter: {error}") from error
            raise
        return found

    def end(self, base: ServedModel) -> None:
        """Serve the adapters of a model no more; it has no requests."""
        for adapted in self._registry.adapted:
            if adapted.base is base:
                self._registry.forget_adapter(adapted.name)
        base.adapters.close()

    def close(self) -> None:
        """Let go of all files."""
        for base in self._registry.models:
            base.adapters.close()

    # ------------------------------------------------------------------ by admins

    async def load(self, base: ServedModel, name: str, path: str) -> None:
        """Load an adapter of ``base`` from --lora-dir. Raises a ForgeError.

        Returns when each worker that is ready has it.
        """
        if self._folder is None:
            raise NotOffered("this server loads no adapters while it runs: --lora-dir says whence")
        if not NAME.fullmatch(name):
            message = "'lora_name': a name has 1 to 256 characters, without '=' and ','"
            raise BadRequest(message, param="lora_name")
        async with self._change:
            self._check_new(base, name)
            model, workers = base.config.model, _copies(base.config)
            opening = asyncio.ensure_future(
                asyncio.to_thread(opened_below, self._folder, path, model, workers)
            )
            try:
                found = await asyncio.shield(opening)
            except asyncio.CancelledError:
                opening.add_done_callback(_close)
                raise
            except Unfit as error:
                raise BadRequest(f"'lora_path': {error}", param="lora_path") from error
            try:
                await base.pool.adapt([*base.adapters.files, found.file])
            except AdapterRefused as error:
                found.close()
                raise BadRequest(f"'lora_path': {error}", param="lora_path") from error
            except BaseException:
                found.close()
                raise
            self._take(base, name, found, 0.0)
        log.info("the adapter %r of %s is loaded: %s", name, base.name, found.file.shown)

    def _check_new(self, base: ServedModel, name: str) -> None:
        if self._registry.taken(name):
            message = f"'lora_name': there is a model or an adapter '{name}' already"
            raise BadRequest(message, param="lora_name")
        if len(list(base.adapters)) >= MOST:
            raise BadRequest(f"'{base.name}' has {MOST} adapters already", param="lora_name")

    async def unload(self, name: str) -> None:
        """Unload an adapter. Raises NotFound.

        New requests don't find it any more; those that were accepted go on to their end.
        """
        async with self._change:
            served = next((each for each in self._registry.adapted if each.name == name), None)
            if served is None:
                raise NotFound(f"there is no adapter '{name}'")
            self._registry.forget_adapter(name)
            served.adapters.remove(name)
            await self._forget(served.base)
        log.info("the adapter %r of %s is unloaded", name, served.base.name)

    async def _forget(self, base: ServedModel) -> None:
        """Have the workers forget what no request needs."""
        try:
            await base.pool.adapt(base.adapters.files)
        except (AdapterRefused, ForgeError) as error:
            log.warning("an adapter of %s is not unloaded: %s", base.name, error)

    # ------------------------------------------------------------------ requests

    def ended(self, job: Job) -> None:
        """A request has ended. Raises nothing."""
        if not job.params.adapters:
            return
        base = self._registry.get(job.model or None)
        if base is not None and base.adapters.release(job.params.adapters):
            task = asyncio.create_task(self._forget_later(base))
            self._forgetting.add(task)
            task.add_done_callback(self._forgetting.discard)

    async def _forget_later(self, base: ServedModel) -> None:
        async with self._change:
            await self._forget(base)


def _copies(config: Config) -> int:
    """Return how many workers of this machine load an adapter."""
    return 0 if config.cluster is not None else config.shape().workers


def _has(base: ServedModel, name: str, new: OpenedAdapter) -> bool:
    """Return whether a model has this adapter by this name."""
    there = base.adapters.get(name)
    return there is not None and there.digest == new.file.digest


def _close(opening: asyncio.Future[OpenedAdapter]) -> None:
    """Let go of a file that was opened for an admin who hung up."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


class AdapterUses:
    """Tells of requests that ended. Implements :class:`gateway.dispatch.observer.Observer`."""

    def __init__(self, changes: AdapterChanges) -> None:
        self._changes = changes

    def on_end(self, ticket: Ticket) -> None:
        self._changes.ended(ticket.job)

    def on_refused(self, job: Job, error: ForgeError) -> None:
        pass  # it was never counted

    def on_unparked(self, seconds: float) -> None:
        pass

    def on_violation(self, what: str) -> None:
        pass
