"""One set of a model's workers, with the queue before them: what a reload replaces as a whole."""

from dataclasses import dataclass

from gateway.config.model_entry import ModelEntry
from gateway.core.byte_sizes import readable
from gateway.dispatch.dispatcher import Dispatcher
from gateway.pool import Pool, ResizablePool
from gateway.served.swappable_pool import SwappablePool


def can_shrink(pool: Pool) -> bool:
    """Return whether workers of a pool that is there may be ended one by one."""
    return pool.resizable if isinstance(pool, SwappablePool) else isinstance(pool, ResizablePool)


def no_room(need: int, free: int) -> str:
    """Return why other workers can't come, for the operator."""
    return (
        f"the new workers need {readable(need)} of memory, and {readable(free)} would be free for "
        "them, even one after the other"
    )


@dataclass(frozen=True, slots=True, eq=False)
class Revision:
    """Answers are of one model, so a request is served by one revision from its first token on."""

    entry: ModelEntry
    dispatcher: Dispatcher
    pool: Pool

    @property
    def restarts(self) -> int:
        """Worker processes started in the place of others."""
        gone = self.pool.restarts if isinstance(self.pool, SwappablePool) else 0
        return gone + sum(status.restarts for status in self.pool.workers())

    @property
    def asked(self) -> bool:
        """Return whether a worker still has a question to answer."""
        return any(status.questions for status in self.pool.workers())

    async def start(self) -> None:
        """Return when a worker is ready. Raises PoolFailed, and leaves no process behind then."""
        try:
            if isinstance(self.pool, SwappablePool):
                self.pool.listen(self.dispatcher)
                await self.pool.load()
            else:
                await self.pool.start(self.dispatcher)
        except BaseException:  # a start that is cancelled, too
            await self.pool.stop()
            raise
