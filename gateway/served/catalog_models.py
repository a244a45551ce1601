"""Models that no file configures: those in the caches, served by the names of ``forge list``.

A name that a request brings is looked up on the disk, in the folder where a model of that name
would be; so what another process has downloaded is there at once, and what was deleted is gone.
The first request makes a served model of it, with a queue of its own, and the loader decides when
it is loaded. How much memory it takes is found out by then, and not before.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from gateway.config import tuning_profile
from gateway.config.config import MIB, Config
from gateway.config.model_entry import ModelEntry
from gateway.config.model_tables import CATALOG_SHARES
from gateway.model_files import catalog
from gateway.model_files.catalog import CatalogEntry
from gateway.served import memory_budget
from gateway.served.resident import LoadNeed
from gateway.served.served_model import ServedModel

LABEL = "catalog"
"""All of these models in metrics: their names are not known at the start."""


def without_tables(server: Config) -> list[ModelEntry]:
    """Return the models that a server with a catalog has beside it.

    The one that --model names, loaded at the start; else the embedded one, when it is asked for.
    """
    return [_entry(server, preload="model" in server.model_fields_set)]


def _entry(server: Config, *, preload: bool = False) -> ModelEntry:
    ram = server.cache_ram
    if ram == "auto":
        ram = server.cache_bytes() // CATALOG_SHARES // MIB
    config = server.model_copy(update={"cache_ram": ram, "spare": False})
    config, _ = tuning_profile.apply(config, os.environ)
    keep = config.keep_alive
    return ModelEntry(config, preload=preload, keep_alive=keep if keep >= 0 else None)


def clashes(entries: Iterable[ModelEntry]) -> Iterator[str]:
    """Yield a line for each name of a configured model that a model of the caches has, too."""
    for entry in entries:
        for name in (entry.name, *entry.aliases):
            found = catalog.named(name)
            if found is not None and not same_file(found.path, entry.config.model):
                yield (
                    f"models.{entry.name}: the caches have a model called '{name}', too; "
                    "this one is served under that name"
                )


class CatalogModels:
    """Serve models of the caches as they are asked for."""

    def __init__(
        self,
        server: Config,
        budget: int,
        adopt: Callable[[ModelEntry, Callable[[], LoadNeed]], ServedModel],
        retire: Callable[[ServedModel], bool],
        configured: Callable[[], Iterable[ServedModel]],
    ) -> None:
        """``budget``: bytes for all models.

        ``adopt`` begins to serve a model, ``retire`` ends that, or returns False if it has work.
        ``configured``: the models that are served whatever the caches have.
        """
        self._server = server
        self._budget = budget
        self._adopt = adopt
        self._retire = retire
        self._configured = configured
        self._adopted: dict[str, ServedModel] = {}
        self._leaving = frozenset[Path]()
        """Files that are being deleted: no model of theirs is there any more."""
        self._look: asyncio.Future[list[CatalogEntry]] | None = None

    def find(self, name: str) -> ServedModel | None:
        """Return the model of this name; None if the caches have none. Some looks at the disk."""
        served = self._adopted.get(name)
        if served is not None and served.state in ("loading", "loaded", "unloading"):
            return served
        entry = catalog.named(name)
        if entry is None or self._leaves(entry):
            if served is not None:
                self.forget(served)
            return None
        configured = self._standing_for(entry)
        if configured is not None:
            return configured
        served = self._adopted.get(entry.name)
        if served is not None and served.config.model != entry.path:
            # It was downloaded anew: the next load takes what is there now.
            if not self.forget(served):
                return served
            served = None
        return served or self._begin(entry)

    def forget(self, served: ServedModel) -> bool:
        """Serve a model no more; False if it is loaded, or a request waits for it."""
        if self._adopted.get(served.name) is not served or not self._retire(served):
            return False
        del self._adopted[served.name]
        return True

    @contextlib.contextmanager
    def leaving(self, files: Iterable[Path]) -> Iterator[None]:
        """Hide all models of these files inside the context, in which they are deleted.

        Else a request that comes between the last look at a model's users and the end of its files
        would load it. ``files``: without links. One deletion runs at a time.
        """
        self._leaving = frozenset(files)
        try:
            yield
        finally:
            self._leaving = frozenset()

    def _leaves(self, entry: CatalogEntry) -> bool:
        return bool(self._leaving) and not self._leaving.isdisjoint(map(Path.resolve, entry.files))

    def adopted(self, name: str) -> ServedModel | None:
        """Return the model of this name if a request has asked for it."""
        return self._adopted.get(name)

    async def entries(self) -> list[CatalogEntry]:
        """Return all models of the caches but those that a configured one stands for.

        The look at the disk takes a thread; requests that come meanwhile share it.
        """
        if self._look is None or self._look.done():
            self._look = asyncio.ensure_future(asyncio.to_thread(_everything))
        found = await asyncio.shield(self._look)
        return [
            each for each in found if not self._leaves(each) and self._standing_for(each) is None
        ]

    def _standing_for(self, found: CatalogEntry) -> ServedModel | None:
        """Return the configured model of the same file, or of the same name."""
        for each in self._configured():
            if found.name in (each.name, *each.aliases) or same_file(each.config.model, found.path):
                return each
        return None

    def _begin(self, found: CatalogEntry) -> ServedModel:
        own = {"model": found.path, "alias": found.name}
        entry = _entry(self._server.model_copy(update=own))

        def measure() -> LoadNeed:
            share = memory_budget.share(self._server, entry, self._budget)
            return LoadNeed(share.need, share.check)

        served = self._adopt(entry, measure)
        self._adopted[found.name] = served
        return served


def same_file(one: Path, other: Path) -> bool:
    """Return whether two paths lead to one file."""
    try:
        return one == other or os.path.samefile(one, other)
    except OSError:
        return False


def _everything() -> list[CatalogEntry]:
    try:
        return catalog.everything()
    except (OSError, RuntimeError):  # files that go just now; no home
        return list(catalog.embedded())
