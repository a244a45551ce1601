"""Short ways to put files into a store and to read them."""

from gateway.stored.files import StoredFile
from gateway.stored.store import Store

ROOM = 64 * 1024 * 1024


class SetClock:
    """Unix seconds as a test sets them."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


async def put(
    store: Store,
    owner: str,
    content: bytes,
    *,
    purpose: str = "batch",
    age: int | None = None,
    room: int = ROOM,
) -> StoredFile:
    """Store a file, in pieces as a connection gives them."""
    incoming = await store.files.receive(owner, room)
    try:
        for at in range(0, len(content), 65536):
            await incoming.write(content[at : at + 65536])
        blob = await incoming.commit()
    finally:
        await incoming.abort()  # nothing, after a commit
    return await store.files.keep(owner, blob, purpose, "a.jsonl", age, room)


async def content(store: Store, blob: str, offset: int = 0, length: int | None = None) -> bytes:
    """Return a blob's bytes."""
    return b"".join([piece async for piece in store.blobs.read(blob, offset, length)])
