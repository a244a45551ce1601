"""One store: the database, its blobs, the files, and what is swept as time goes by.

To construct it does nothing; :meth:`Store.open` makes it usable. A folder that another server has
leaves it closed, and the server goes on without. Lifetimes: opened by the gateway before it
listens, closed after its last request.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from sqlalchemy import select

from gateway.core.errors import StorageFull, StoreOff, Unavailable
from gateway.stored.blobs import Blobs
from gateway.stored.data_folder import DataFolder
from gateway.stored.database import Database
from gateway.stored.database_blobs import DatabaseBlobs
from gateway.stored.errors import StoreTaken
from gateway.stored.files import Files
from gateway.stored.folder_blobs import FolderBlobs
from gateway.stored.incoming import Clock
from gateway.stored.tables import METADATA
from gateway.stored.uploads import Uploads

log = logging.getLogger("forge.store")

SWEEP_S = 60
Sweep = Callable[[], Awaitable[None]]


class Store:
    """Everything that survives a restart."""

    def __init__(self, folder: Path | None, url: str | None, max_file: int, clock: Clock) -> None:
        """``url`` of PostgreSQL, or else the ``folder``; ``clock``: Unix seconds."""
        assert url is not None or folder is not None, "the store is somewhere"
        self.clock = clock
        self._folder = DataFolder(folder) if folder is not None and url is None else None
        self.database = Database(url or str(self._data_folder.database))
        self.blobs = self._make_blobs()
        self.files = Files(self.database, self.blobs, clock, max_file)
        self.uploads = Uploads(self.database, self.blobs, self.files, clock)
        self.sweeps: list[Sweep] = [self.files.sweep, self.uploads.sweep]
        """Run each minute while the store is open."""
        self.is_open = False
        self.trouble: str | None = None
        """The reason why it could not be opened, for clients."""
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def _data_folder(self) -> DataFolder:
        assert self._folder is not None, "there is one without a database's URL"
        return self._folder

    def _make_blobs(self) -> Blobs:
        if self._folder is None:
            return DatabaseBlobs(self.database, self.clock)
        return FolderBlobs(self._folder.blobs, self._folder.unfinished)

    async def open(self) -> None:
        """Make it usable, unless another server has the folder: then it stays closed.

        Raises :class:`gateway.stored.errors.StoreUnusable`. Once it is open, this does nothing.
        """
        if self.is_open:
            return
        async with contextlib.AsyncExitStack() as unless_open:
            unless_open.push_async_callback(self.close)
            try:
                if self._folder is not None:
                    self._folder.open()
                await self.database.open()
            except StoreTaken as taken:
                log.warning("%s: this one serves without files and batches", taken)
                self.trouble = "another server uses the folder of this server's --data-dir"
                return
            await self._drop_orphans()
            self.is_open = True
            self._sweeper = asyncio.create_task(self._keep_sweeping())
            unless_open.pop_all()

    def check(self) -> None:
        """Raises StoreOff if it is not open."""
        if not self.is_open:
            raise StoreOff(f"files and batches are off: {self.trouble or 'the server ends'}")

    async def close(self) -> None:
        """Let go of database and folder."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
            self._sweeper = None
        self.is_open = False
        self.blobs.close()
        await self.database.close()
        if self._folder is not None:
            self._folder.close()

    async def sweep(self) -> None:
        """Delete what is over."""
        for sweep in self.sweeps:
            await sweep()

    async def _keep_sweeping(self) -> None:
        while True:
            try:
                await self.sweep()
            except (StorageFull, Unavailable) as error:
                log.warning("what is over is deleted later: %s", error.message)
            except Exception:  # a bug, or a disk that refuses: it must not end the later sweeps
                log.exception("what is over could not be deleted")
            await asyncio.sleep(SWEEP_S)

    async def _drop_orphans(self) -> None:
        """Delete the blobs that a server has left between a blob and its row."""
        await self.blobs.sweep()
        orphans = {*await self.blobs.ids()}
        async with self.database.read() as connection:
            for table in METADATA.tables.values():
                if "blob" in table.c and table.name != "blob_chunks":
                    orphans -= {*(await connection.execute(select(table.c.blob))).scalars()}
        for id_ in orphans:
            await self.blobs.delete(id_)
        if orphans:
            log.info("%d blobs without a file were deleted", len(orphans))
