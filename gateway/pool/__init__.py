"""The pool of workers: an interface, and the local pool of processes that implements it.

Nothing outside this package may assume that a worker is a process of this machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from workers.protocol import AdapterFile, Event, Generate, Load, ModelInfo, Question

if TYPE_CHECKING:
    from gateway.pool.cluster.control import Need

WorkerState = Literal["starting", "ready", "draining", "dead"]
FileState = Literal["same", "replaced", "removed", "overwritten"]
"""A model's file, beside what its name leads to now."""


class Download(NamedTuple):
    """A file of the model that comes to a worker's machine."""

    file: str
    done: int
    """Bytes that are there."""
    total: int | None
    """All of them, if that is known."""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker as operators see it."""

    id: int
    pid: int | None
    state: WorkerState
    slots: int
    busy: int
    restarts: int
    load: Load
    questions: int = 0
    """The questions that it has not answered."""
    held: Sequence[int] = ()
    """Ids of the generations in its slots."""
    model_file: FileState = "same"
    """The file of its model, beside what its name leads to now."""
    node: str | None = None
    """The name of the machine of a cluster that it runs on."""
    address: str | None = None
    """The machine's address."""
    download: Download | None = None
    """The file that its machine gets before it can start."""


class Listener(Protocol):
    """Hears what happens in the pool: the dispatcher. Called in the event loop."""

    def on_event(self, event: Event) -> None:
        """A generation made progress or ended."""
        ...

    def on_lost(self, ids: Sequence[int]) -> None:
        """A worker died that had served; no further event of these generations will come."""
        ...

    def on_credit(self) -> None:
        """There may be a free credit now."""
        ...

    def on_violation(self, what: str) -> None:
        """Something that must hold does not: a bug."""
        ...

    def on_trouble(self, reason: str) -> None:
        """No worker can serve, and starting one has failed again and again."""
        ...


class Pool(Protocol):
    """Workers that compute generations."""

    model: ModelInfo | None
    """Set once a worker is ready."""

    @property
    def trouble(self) -> str | None:
        """The reason why nothing can be served for now; None again as soon as a worker is ready."""
        ...

    async def start(self, listener: Listener) -> None:
        """Start the workers; returns when the first one is ready. Raises :class:`PoolFailed`."""
        ...

    def ready(self) -> bool:
        """Return whether any worker can serve."""
        ...

    def free(self) -> int:
        """Generations that could be taken right now."""
        ...

    def submit(self, request: Generate, session: str = "") -> int:
        """Give a generation to a worker, and return its id. Needs a free credit.

        To one that has computed what its prompt begins with, unless that is clearly busier; among
        equals to the one that had the last generation of the same ``session``, if it has a name.
        """
        ...

    def node(self, worker: int) -> str | None:
        """Return the machine of a cluster that a worker runs on, by the worker's id."""
        ...

    def reserve(self) -> bool:
        """Keep one worker for a generation that must run alone; whether it is empty by now.

        Its credits are not free any more. One worker at a time, chosen anew with each call.
        """
        ...

    def submit_alone(self, request: Generate) -> int:
        """Give a generation to the reserved worker, and return its id.

        Needs :meth:`reserve` to have said yes.
        """
        ...

    def release(self) -> bool:
        """Open the reserved worker to all jobs again; True if there was one."""
        ...

    def cancel(self, id_: int) -> None:
        """Stop a generation; its ``Finished`` still comes, and only then is its credit free."""
        ...

    def park(self, id_: int) -> None:
        """Take a generation off its slot; ``Parked`` follows, unless it ends first.

        A later :meth:`submit` of the same id goes on, on the same worker if that has a credit.
        """
        ...

    async def adapt(self, adapters: Sequence[AdapterFile]) -> None:
        """Have these LoRA adapters and no others, also in workers that start later.

        Those that are there stay as they are; no generation may need one that goes. Raises
        :class:`AdapterRefused` if a worker can't have one of them: then all is as before.
        """
        ...

    async def ask(self, question: Question) -> bytes:
        """The answer of any worker as JSON; it waits behind no generation and needs no credit.

        Raises a ForgeError. A caller that is cancelled meanwhile does not hear the answer.
        """
        ...

    def drain(self) -> None:
        """Show that the end is near; running generations go on."""
        ...

    def workers(self) -> list[WorkerStatus]: ...

    def placements(self) -> Mapping[str, int]:
        """Return how many generations were given to a worker so far, by why to that one."""
        ...

    def leaks(self) -> list[str]:
        """The resources held for generations, in words; none when no generation is here."""
        ...

    async def stop(self) -> None:
        """End all workers, whatever they do."""
        ...


@runtime_checkable
class PlacedPool(Protocol):
    """A pool whose workers may run on the nodes of a cluster, each of which has a place there."""

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of all workers that may come."""
        ...

    @property
    def cramped(self) -> bool:
        """Return whether no worker has a place on a node, and one waits for some."""
        ...

    async def places(self, need: "Need") -> int:
        """Return for how many more workers, with this need, nodes have room."""
        ...


@runtime_checkable
class ResizablePool(Protocol):
    """A pool whose workers can be ended and started one by one, once it was started."""

    @property
    def size(self) -> int:
        """The number of workers that are there and stay."""
        ...

    @property
    def capacity(self) -> int:
        """The number of workers that the pool was made for."""
        ...

    def begin_with(self, count: int) -> None:
        """Let ``start`` begin with ``count`` workers only."""
        ...

    async def hold(self) -> None:
        """Leave its size to the caller, and give up workers that wait for a machine to run on.

        One stays, whatever it does.
        """
        ...

    def resume(self) -> None:
        """Have as many workers as before :meth:`hold`, and decide about their number again."""
        ...

    async def shrink(self) -> None:
        """Give one worker no new work, and end it when it has none; return when it is gone."""
        ...

    def grow(self) -> None:
        """Start one worker more, up to the number that the pool was made for."""
        ...


class AdapterRefused(Exception):
    """A worker can't load an adapter; the text is one line for the operator."""


class PoolFailed(Exception):
    """No worker can be made with this configuration; the text is one line for the operator."""
