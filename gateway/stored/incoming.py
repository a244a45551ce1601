"""A file that a client is sending: bytes into a blob, within its bounds."""

from collections.abc import Callable

from gateway.core.errors import FileTooLarge
from gateway.stored.blobs import Blob, BlobWriter
from gateway.stored.quota import LEAST, Arriving, check


class IncomingFile:
    """To be ended by ``commit`` or ``abort``; the second after the first does nothing."""

    def __init__(
        self, writer: BlobWriter, arriving: Arriving, owner: str, used: int, room: int, most: int
    ) -> None:
        """``used`` bytes of the owner's ``room`` were taken when it began; ``most``: its own.

        Raises QueueFull.
        """
        self._writer, self._arriving, self._owner = writer, arriving, owner
        self._used, self._room, self._most = used, room, most
        arriving.begin(owner)
        self._counted = LEAST
        self._ended = False
        self.size = 0
        arriving.add(owner, LEAST)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add to it. Raises FileTooLarge, QuotaExceeded or StorageFull."""
        self.size += len(data)
        if self.size > self._most:
            raise FileTooLarge(f"'file' is larger than the {self._most} bytes that one may have")
        self._counted += len(data)
        check(self._used + self._arriving.add(self._owner, len(data)), self._room)
        await self._writer.write(data)

    async def commit(self) -> Blob:
        """Return the blob. Raises StorageFull."""
        blob = await self._writer.commit()
        self._release()
        return blob

    async def abort(self) -> None:
        """Forget it."""
        self._release()
        await self._writer.abort()

    def _release(self) -> None:
        if not self._ended:
            self._ended = True
            self._arriving.remove(self._owner, self._counted)
            self._arriving.end(self._owner)


Clock = Callable[[], float]
"""Unix seconds."""
