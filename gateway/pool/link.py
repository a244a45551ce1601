"""The gateway's end of one worker's link: frames, credits, what is in flight there, questions."""

import asyncio
from collections.abc import Callable
from typing import cast

from gateway.core.prompt_size import BYTES_PER_TOKEN
from gateway.pool.placement import Offer
from gateway.pool.prefixes import UNKNOWN, Chain, Holdings
from gateway.pool.watchdog import Watchdog
from workers.protocol import (
    NO_ADAPTERS,
    AdapterFile,
    AdapterLoaded,
    AdapterSet,
    Answer,
    Answered,
    Ask,
    Cancel,
    Delta,
    Failed,
    Finished,
    FrameDecoder,
    FromWorker,
    Generate,
    Heartbeat,
    Load,
    LoadAdapter,
    Park,
    Parked,
    ProtocolError,
    Question,
    QuestionFailed,
    Ready,
    Report,
    Step,
    UnloadAdapter,
    encode,
)


class WorkerLink(asyncio.Protocol):
    """One connection to one worker process, from spawn to EOF."""

    def __init__(
        self,
        on_message: Callable[["WorkerLink", Report], None],
        on_closed: Callable[["WorkerLink"], None],
        watchdog: Watchdog,
    ) -> None:
        """``on_closed`` is called after everything that the worker wrote has been handed over."""
        self._on_message = on_message
        self._on_closed = on_closed
        self._watchdog = watchdog
        self._decoder: FrameDecoder[FromWorker] = FrameDecoder(FromWorker)
        self._transport: asyncio.Transport | None = None
        self.ready: Ready | None = None
        self.in_flight: dict[int, int] = {}
        """Attempt by id of each generation that holds a credit."""
        self.parked: dict[int, int] = {}
        """Attempt by id of each generation whose state is kept there, without a credit."""
        self._holdings = Holdings()
        """The prompts that it is believed to have; they end with the process."""
        self.load = Load()
        self._reports = 0
        """Frames of the engine so far."""
        self._cancelled: dict[int, int] = {}
        """Number of them when each generation in flight was cancelled."""
        self._asked: dict[int, asyncio.Future[Answer | None]] = {}
        """Questions without an answer; one whose asker is gone is cancelled, and still there."""
        self._last_question = 0
        self._adapters: dict[int, AdapterSet] = {}
        """Adapters of each generation in flight."""
        self._loading: dict[str, asyncio.Future[str]] = {}
        """Problems with adapters that it was told to load, "" for none, by their digests."""

    @property
    def credits(self) -> int:
        """Generations this worker could take now."""
        return self.ready.slots - len(self.in_flight) if self.ready else 0

    def offer(self, worker: int, prompt: Chain, adapters: AdapterSet = NO_ADAPTERS) -> Offer:
        """Return its offer for a prompt, under the name ``worker``."""
        return Offer(
            worker, self.credits, *self._holdings.appraise(prompt), self._strangers(adapters)
        )

    def _strangers(self, adapters: AdapterSet) -> int:
        """Return how many generations in flight have other adapters."""
        return sum(each != adapters for each in self._adapters.values())

    def generate(self, request: Generate, prompt: Chain = UNKNOWN) -> None:
        """Send a generation with this prompt; takes a credit."""
        self.in_flight[request.id] = request.attempt
        self._adapters[request.id] = request.params.adapters
        self._holdings.begin(request.id, prompt)
        self.parked.pop(request.id, None)
        self._write(encode(request))

    def cancel(self, id_: int) -> None:
        """Stop a generation, or give up a parked one; nothing to one that is not there."""
        if id_ in self.in_flight or id_ in self.parked:
            self.parked.pop(id_, None)
            if id_ in self.in_flight:
                self._cancelled[id_] = self._reports
            self._write(encode(Cancel(id_)))

    def unanswered(self) -> list[int]:
        """Generations that hold credits, without those whose end the engine had no time to tell.

        It hears of a cancellation between two steps: the second report after it must tell.
        """
        return sorted(
            id_
            for id_ in self.in_flight
            if id_ not in self._cancelled or self._reports > self._cancelled[id_] + 1
        )

    def park(self, id_: int) -> None:
        self._write(encode(Park(id_)))

    @property
    def questions(self) -> int:
        """The number of questions that the worker has, also those whose askers are gone."""
        return len(self._asked)

    def ask(self, question: Question) -> asyncio.Future[Answer | None]:
        """Send a question; None if the worker dies without an answer."""
        self._last_question += 1
        answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._asked[self._last_question] = answer
        self._write(encode(Ask(self._last_question, question)))
        return answer

    def _answer(self, id_: int, answer: Answer | None) -> None:
        asked = self._asked.pop(id_, None)
        if asked is None:
            raise ProtocolError(f"an answer to question {id_}, which was not asked")
        if not asked.done():
            asked.set_result(answer)

    def load_adapter(self, file: AdapterFile) -> asyncio.Future[str]:
        """Have it load an adapter; the problem with that, "" for none."""
        found = self._loading.get(file.digest)
        if found is None:
            found = self._loading[file.digest] = asyncio.get_running_loop().create_future()
            self._write(encode(LoadAdapter(file)))
        return found

    def unload_adapter(self, digest: str) -> None:
        """Have it forget an adapter that no generation needs any more."""
        self._write(encode(UnloadAdapter(digest)))

    def _loaded_adapter(self, message: AdapterLoaded) -> None:
        loading = self._loading.pop(message.digest, None)
        if loading is not None and not loading.done():
            loading.set_result(message.problem)

    def close(self) -> None:
        """Hang up; the worker ends when it sees that."""
        if self._transport is not None:
            self._transport.abort()

    def _write(self, frame: bytes) -> None:
        assert self._transport is not None
        self._transport.write(frame)

    def tick(self) -> str | None:
        """Time passed: why the worker must be taken for dead, if it must."""
        return self._watchdog.tick(bool(self.in_flight), bool(self._asked))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._decoder.feed(data):
                self._watchdog.beat()
                if isinstance(message, Answered | QuestionFailed):
                    self._watchdog.answer()
                    self._answer(message.id, message)
                elif not isinstance(message, Heartbeat):
                    self._account(message)
                    self._on_message(self, message)
        except ProtocolError:
            # A worker that sends rubbish can't be trusted with its other streams either.
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_closed(self)
        for id_ in list(self._asked):
            self._answer(id_, None)
        for digest in list(self._loading):
            self._loaded_adapter(AdapterLoaded(digest, "a worker ended while it loaded it"))

    def _account(self, message: Report) -> None:
        if isinstance(message, Ready):
            self.ready = message
            self._holdings = Holdings(_capacity(message.model.n_ctx))
        elif isinstance(message, AdapterLoaded):
            self._loaded_adapter(message)
        elif isinstance(message, Step):
            if message.load is not None:
                self._loaded(message.load)
                self._watchdog.step()
                self._reports += 1
            for event in message.events:
                if isinstance(event, Finished | Failed | Parked):
                    self._release(event)
                elif isinstance(event, Delta) and event.ids:
                    self._holdings.computed(event.id)

    def _loaded(self, load: Load) -> None:
        if self.ready is not None and load.host_room != self.load.host_room:
            self._holdings.resize(_capacity(self.ready.model.n_ctx + load.host_room))
        self.load = load

    def _release(self, event: Finished | Failed | Parked) -> None:
        """An attempt left its slot; the echo of an earlier one frees nothing of the current."""
        for held in (self.in_flight, self.parked):
            if held.get(event.id) == event.attempt:
                del held[event.id]
                self._adapters.pop(event.id, None)
                self._cancelled.pop(event.id, None)
                self._holdings.end(event.id)
        if isinstance(event, Parked):
            self.parked[event.id] = event.attempt


def _capacity(tokens: int) -> int:
    """Bytes of prompts that the worker is believed to keep: of those in its cells, which run, and
    of those in its host memory, which have ended."""
    return BYTES_PER_TOKEN * tokens
