"""The output of a batch that is sealed: its results as files, and the end of its rows.

Both files are in the order of the input. They are blobs first; then one transaction makes files of
them, deletes the lines and moves the batch into its last state. A gateway that dies before leaves
blobs without a file, which the store sweeps, and another one begins anew.
"""

from collections.abc import AsyncIterator
from typing import Any

import orjson
from sqlalchemy import delete, select, update

from gateway.batches.answers import never_run
from gateway.batches.line_states import DONE, FAILED
from gateway.batches.line_store import LineStore, LostBatch
from gateway.batches.record import BatchRecord, Ending
from gateway.batches.validation import BatchProblem
from gateway.core.errors import StorageFull
from gateway.stored.blobs import Blob
from gateway.stored.store import Store
from gateway.stored.tables import batches, lines

PAGE = 32
"""Results that are in memory at once; some have megabytes."""
NAMED_PAGE = 500
"""Lines without a result likewise, of which there is a name alone."""
WHY = {
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    "cancelled": (
        "batch_cancelled",
        "This request could not be executed before the batch was cancelled.",
    ),
    "failed": ("batch_failed", "This request could not be executed before the batch failed."),
}
"""Error of a line that has no result, by how its batch ends."""


class OutputWriter:
    """Ends batches that this gateway finalizes."""

    def __init__(self, store: Store, rows: LineStore, gateway: str) -> None:
        self._store, self._lines, self._gateway = store, rows, gateway

    async def finish(self, batch: BatchRecord) -> None:
        """Write both files, and end the batch. Raises LostBatch or StorageFull."""
        assert batch.ending is not None, "it is sealed"
        blobs = dict[str, Blob]()
        try:
            if batch.in_progress_at is not None:
                if (output := await self._write(self._output(batch))) is not None:
                    blobs["output"] = output
                if (errors := await self._write(self._errors(batch))) is not None:
                    blobs["error"] = errors
            await self._end(batch, batch.ending, blobs)
        except (LostBatch, StorageFull):  # after any other error there may be files of them
            for blob in blobs.values():
                await self._store.blobs.delete(blob.id)
            raise

    async def give_up(self, batch: BatchRecord, errors: list[BatchProblem]) -> None:
        """End a batch as failed, without files: there is no place for them. Raises LostBatch."""
        await self._end(batch, "failed", {}, errors=orjson.dumps(errors))

    async def _write(self, parts: AsyncIterator[bytes]) -> Blob | None:
        """Return the blob of some lines; None if there are none."""
        writer, empty = self._store.blobs.writer(), True
        try:
            async for part in parts:
                await writer.write(part)
                empty = False
            return None if empty else await writer.commit()
        finally:
            await writer.abort()  # nothing, after a commit

    async def _output(self, batch: BatchRecord) -> AsyncIterator[bytes]:
        async for result in self._results(batch.id, DONE):
            yield result

    async def _errors(self, batch: BatchRecord) -> AsyncIterator[bytes]:
        """Yield the errors of lines that have one, and then of those that have no result."""
        async for result in self._results(batch.id, FAILED):
            yield result
        if batch.ending is None or batch.ending == "completed":
            return
        code, message = WHY[batch.ending]
        after = 0
        while page := await self._lines.never_run(batch.id, after, NAMED_PAGE):
            yield b"".join(
                never_run(batch.id, number, custom_id, code, message) for number, custom_id in page
            )
            after = page[-1][0]

    async def _results(self, batch: str, state: str) -> AsyncIterator[bytes]:
        after = 0
        while page := await self._lines.results(batch, state, after, PAGE):
            for number, result in page:
                yield result
                after = number

    async def _end(
        self, batch: BatchRecord, ending: Ending, blobs: dict[str, Blob], **values: Any
    ) -> None:
        now = int(self._store.clock())
        values |= {"status": ending, "gateway": None, f"{ending}_at": now}
        values["failed"] = batches.c.total - batches.c.completed
        async with self._store.database.begin() as connection:
            mine = select(batches.c.gateway).where(batches.c.id == batch.id).with_for_update()
            if (await connection.execute(mine)).scalar() != self._gateway:
                raise LostBatch(batch.id)
            for kind, blob in blobs.items():
                name = f"{batch.id}_{kind}.jsonl"
                file = await self._store.files.insert(
                    connection, batch.owner, blob, "batch_output", name, batch.output_age
                )
                values[f"{kind}_file"] = file.id
            change = update(batches).where(batches.c.id == batch.id)
            await connection.execute(change.values(values))
            await connection.execute(delete(lines).where(lines.c.batch == batch.id))
