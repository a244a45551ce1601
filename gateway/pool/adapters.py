"""The LoRA adapters that the workers of a pool have, or are to have."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from gateway.pool import AdapterRefused
from gateway.pool.link import WorkerLink
from workers.protocol import AdapterFile, Ready

log = logging.getLogger("forge.pool")


class PoolAdapters:
    """Keeps all workers at one list, those that come later, too."""

    def __init__(
        self,
        files: Sequence[AdapterFile],
        links: Callable[[], Iterable[WorkerLink]],
        lacks: Callable[[WorkerLink], None] = lambda link: None,
    ) -> None:
        """``files``: those at the start. ``links`` gives the workers that are ready; ``lacks``
        hears of one that has started and can't load one of them."""
        self._files = {file.digest: file for file in files}
        self._links = links
        self._lacks = lacks
        self._change = asyncio.Lock()

    @property
    def files(self) -> tuple[AdapterFile, ...]:
        """Return the adapters that a worker loads when it starts."""
        return tuple(self._files.values())

    def greet(self, link: WorkerLink, ready: Ready) -> None:
        """Tell a worker what changed since it was started, before it gets any work."""
        for refused in ready.refused:
            log.error("a worker lacks an adapter: %s", refused.problem)
            self._lacks(link)
        known = {*ready.adapters, *(refused.digest for refused in ready.refused)}
        for digest, file in self._files.items():
            if digest not in known:
                link.load_adapter(file).add_done_callback(lambda done: self._loaded(link, done))
        for digest in ready.adapters:
            if digest not in self._files:
                link.unload_adapter(digest)

    def _loaded(self, link: WorkerLink, loaded: asyncio.Future[str]) -> None:
        if not loaded.cancelled() and loaded.result():
            log.error("a worker lacks an adapter: %s", loaded.result())
            self._lacks(link)

    async def change(self, files: Sequence[AdapterFile]) -> None:
        """Have these and no others. Raises :class:`AdapterRefused`, and changes nothing then."""
        async with self._change:
            before, wanted = self._files, {file.digest: file for file in files}
            new = [file for digest, file in wanted.items() if digest not in before]
            # From now on a worker that starts has them, too, and nothing is lost by it.
            self._files = {**before, **wanted}
            try:
                await self._load(new)
            except BaseException:  # an admin who hangs up leaves nothing behind, either
                self._files = before
                self._unload(file.digest for file in new)
                raise
            self._files = wanted
            self._unload(digest for digest in before if digest not in wanted)

    async def _load(self, new: Sequence[AdapterFile]) -> None:
        """Raises :class:`AdapterRefused` about the first that a worker refuses."""
        loads = [link.load_adapter(file) for link in self._links() for file in new]
        for problem in await asyncio.gather(*loads):
            if problem:
                raise AdapterRefused(problem)

    def _unload(self, digests: Iterable[str]) -> None:
        for digest in digests:
            for link in self._links():
                link.unload_adapter(digest)
