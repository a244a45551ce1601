"""The interfaces around loading: what makes a model usable, and what is told about it."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from gateway.config.config import Config
from gateway.dispatch.dispatcher import Dispatcher
from gateway.served.load_policy import Reason, State
from gateway.served.resident import LoadNeed
from gateway.served.revision import Revision


@dataclass(slots=True)
class Room:
    """Memory that is kept for workers beside those that a model has."""

    beside: bool
    """True: for all of them at once; else each comes when one of the old has ended."""
    size: int
    """Bytes."""


class LoadObserver(Protocol):
    """Hears of every load and unload of a model."""

    def loaded(self, name: str, took_ns: int) -> None: ...

    def known(self, name: str) -> None:
        """There is a model of this name from now on."""
        ...

    def failed(self, name: str) -> None:
        """A model could not be loaded."""
        ...

    def unloaded(self, name: str, reason: Reason) -> None: ...


class Loader(Protocol):
    """Loads the models of a server, and stops their pools in the end."""

    @property
    def on_demand(self) -> bool:
        """True: a model without workers is loaded for the first request that waits for it."""
        ...

    def begin(self, dispatchers: Mapping[str, Dispatcher]) -> None:
        """Take the dispatcher of each model; called once, after they were made."""
        ...

    def poke(self) -> None:
        """Look again: a dispatcher's queue or slots changed."""
        ...

    def state(self, name: str) -> State:
        """Return whether a model is loaded."""
        ...

    async def start(self, preload: Sequence[str]) -> None:
        """Load the models ``preload``. Raises PoolFailed if the server can't serve without one."""
        ...

    async def run(self) -> None:
        """Load and unload as needed, until the task is cancelled. Raises only after a bug."""
        ...

    def used(self, name: str, client: str, keep_alive_s: float | None) -> None:
        """Note the end of a request of ``client``, which wants the model kept for so long.

        None: for the model's own keep_alive, which is the most.
        """
        ...

    def needed(self, name: str, client: str = "") -> AbstractAsyncContextManager[None]:
        """Keep a model loaded inside the context. Raises a ForgeError if it can't be loaded."""
        ...

    def expires_s(self, name: str) -> float | None:
        """Return the seconds until a model is unloaded if no work comes; None: never."""
        ...

    def need(self, name: str) -> int | None:
        """Return the bytes that a model takes; None while they are not known."""
        ...

    async def load(self, name: str, client: str = "", *, again: bool = False) -> None:
        """Return when the model is loaded. Raises a ForgeError.

        ``again``: also within the pause after a load that failed.
        """
        ...

    async def unload(self, name: str, client: str | None = None) -> None:
        """Return when the model is unloaded. Raises a ForgeError.

        ``client`` None: whatever uses it. For another one only if no others count on it.
        """
        ...

    async def make_room(self, name: str, config: Config, need: LoadNeed) -> Room | None:
        """Keep memory for other workers of a model, which are to replace those that it has.

        None: it has none, so that nothing is to be replaced. Raises NotNow without any room.
        """
        ...

    def replaced(self, name: str, revision: Revision, need: LoadNeed, room: Room) -> None:
        """Note that a model has other workers now. The old ones go, and have memory until then."""
        ...

    def unpin(self, name: str) -> None:
        """Note that the workers of a model were not replaced."""
        ...

    def give_back(self, name: str, room: Room) -> None:
        """End the use of memory that was kept: the workers in it have ended, or did not come."""
        ...

    async def stop(self) -> None:
        """Return when no worker process is left. :meth:`run` must have ended."""
        ...
