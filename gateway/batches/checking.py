"""Validation of a batch's file: read in pieces, its lines added to the store as they are checked.

All or nothing: lines that are in the store do not run before the whole file was found right. A
gateway that dies meanwhile leaves some, and the next one begins anew.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from gateway.batches.batch_store import BatchStore
from gateway.batches.line_store import LineStore
from gateway.batches.record import BatchRecord
from gateway.batches.splitting import LineSplitter, RawLine
from gateway.batches.validation import BatchProblem, CheckedLine, InputCheck
from gateway.core.errors import NotFound
from gateway.stored.blobs import BlobMissing
from gateway.stored.store import Store

MOST_BYTES = 200_000_000
"""Of an input file."""
PIECE = 64 * 1024
"""Bytes that are looked at between two turns of the event loop."""
MOST_ROWS, MOST_ROWS_BYTES = 200, 1024 * 1024
"""Of one transaction."""


class InputReader:
    """Checks the input of batches that this gateway validates."""

    def __init__(self, store: Store, rows: BatchStore, lines: LineStore, longest: int) -> None:
        """``longest``: bytes of a line."""
        self._store, self._rows, self._lines = store, rows, lines
        self._longest = longest

    async def check(
        self, batch: BatchRecord, model: Callable[[str | None], str | None], most: int
    ) -> InputCheck | list[BatchProblem]:
        """Add the lines of a batch, and return what was found; or what is wrong with its file.

        ``model``: as in :class:`InputCheck`; ``most``: lines that its owner may enqueue. Raises
        LostBatch or StorageFull.
        """
        await self._lines.clear(batch.id)
        try:
            file = await self._store.files.get(batch.owner, batch.input_file)
            if file.bytes > MOST_BYTES:
                message = f"The input file has {file.bytes} bytes, and may have {MOST_BYTES}."
                return [{"code": "file_too_large", "message": message}]
            room = most - await self._rows.enqueued(batch.owner)
            check = InputCheck(batch.endpoint, model, self._longest, room)
            await self._add(batch.id, check, self._pieces(file.blob))
        except (NotFound, BlobMissing):
            message = "The input file was deleted before all of it was read."
            return [{"code": "file_not_found", "message": message, "param": "input_file_id"}]
        return check.problems() or check

    async def _pieces(self, blob: str) -> AsyncIterator[bytes]:
        async for chunk in self._store.blobs.read(blob):
            for at in range(0, len(chunk), PIECE):
                yield chunk[at : at + PIECE]
                await asyncio.sleep(0)

    async def _add(self, batch: str, check: InputCheck, pieces: AsyncIterator[bytes]) -> None:
        splitter, adding = LineSplitter(self._longest), _Adding(self._lines, batch)
        async for piece in pieces:
            await adding.take(check, splitter.feed(piece))
            if check.over:
                return
        await adding.take(check, splitter.end())
        await adding.flush()


class _Adding:
    """Rows on their way to the store, until the first wrong line: then none of them is needed."""

    def __init__(self, lines: LineStore, batch: str) -> None:
        self._lines, self._batch = lines, batch
        self._rows = list[CheckedLine]()
        self._bytes = 0

    async def take(self, check: InputCheck, raw: list[RawLine]) -> None:
        for each in raw:
            line = check.take(each)
            if check.over:
                return
            if line is None or check.wrong:
                self._rows.clear()
                continue
            self._rows.append(line)
            self._bytes += len(line.body)
            if len(self._rows) >= MOST_ROWS or self._bytes >= MOST_ROWS_BYTES:
                await self.flush()

    async def flush(self) -> None:
        if self._rows:
            await self._lines.add(self._batch, self._rows)
        self._rows.clear()
        self._bytes = 0
