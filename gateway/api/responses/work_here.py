"""The responses on which this process is at work, and what it writes about them."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gateway.api.responses.archive import MadeResponse
from gateway.core.errors import Unavailable

PATIENCE_S = 10.0

T = TypeVar("T")


@dataclass(slots=True)
class AtWork:
    """A response that is not over, or whose end is not written yet."""

    owner: str
    made: MadeResponse
    written: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is not at work here any more."""

    async def settled(self) -> None:
        """Wait until its end is written. Raises Unavailable if that takes too long."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.written.wait()
        except TimeoutError:
            raise Unavailable("the response is not stored yet", retry_after=5) from None


class WorkHere:
    """Responses that this process makes, by their ids."""

    def __init__(self) -> None:
        self._at_work: dict[str, AtWork] = {}
        self._writing: set[asyncio.Task[Any]] = set()

    def __iter__(self) -> Iterator[AtWork]:
        return iter([*self._at_work.values()])

    def add(self, owner: str, made: MadeResponse) -> None:
        """Note one that begins."""
        self._at_work[made.id] = AtWork(owner, made)

    def find(self, owner: str, id_: str) -> AtWork | None:
        """Return one of an owner's; None if there is none of this id."""
        found = self._at_work.get(id_)
        return found if found is not None and found.owner == owner else None

    def forget(self, ids: Iterable[str]) -> None:
        """End the work on those of these that are at work: they are gone, or written."""
        for id_ in ids:
            found = self._at_work.pop(id_, None)
            if found is not None:
                found.made.stop()
                found.written.set()

    async def whole(self, write: Coroutine[Any, Any, T]) -> T:
        """Write, even if the client that waits for it hangs up meanwhile."""
        task = asyncio.create_task(write)
        self._writing.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._writing.discard(task)
        if not task.cancelled():
            task.exception()  # if the client has left, no other code hears of it

    async def settle(self, seconds: float) -> None:
        """Wait until no response is at work here, for so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for each in self:
                    await each.written.wait()

    async def written(self) -> None:
        """Wait until what is being written is written."""
        if self._writing:
            await asyncio.wait(self._writing)
