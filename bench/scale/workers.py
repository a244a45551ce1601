"""Workers that take time as a small model on a few cores does, and speak the real frames."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from gateway.core.prompt_size import BYTES_PER_TOKEN
from gateway.pool import Download, FileState
from gateway.pool.hosting import Node, WorkerPlace
from gateway.pool.link import WorkerLink
from workers.protocol import (
    Cancel,
    Delta,
    Event,
    Finished,
    FrameDecoder,
    Generate,
    Heartbeat,
    Load,
    ModelInfo,
    Park,
    Parked,
    Ready,
    Started,
    Step,
    Text,
    ToWorker,
    WorkerSpec,
    encode,
)

SLOTS = 8
CELLS = SLOTS * 4096
STEP_S, PREFILL_S, CHUNK = 0.040, 0.0002, 256
"""Of a step without prompts, of each token of one, and the most of those in a step: about what a
1B model takes on eight cores."""
BEAT_S = 1.0
MODEL = ModelInfo(
    name="simulated", description="computes nothing", n_params=0, size_bytes=0, n_vocab=1000,
    n_ctx_train=4096, n_ctx=CELLS, n_ctx_seq=4096, longest_piece=16, n_embd=1, embeds=False,
)  # fmt: skip


@dataclass
class Tally:
    """The work of simulated workers, and the CPU time that simulating them took."""

    own_ns: int = 0
    taking_ns: int = 0
    """The part of it that is spent inside of the gateway's writes."""
    frames: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    counting: bool = False
    """False while the pool warms up."""


@dataclass(slots=True)
class _Sequence:
    request: Generate
    left: int
    to_compute: int
    cached: int
    said: bool = False


@dataclass
class _Transport:
    """The gateway's end of a link that has no socket."""

    take: Callable[[bytes], None]
    hang_up: Callable[[], None]

    def write(self, data: bytes) -> None:
        self.take(data)

    def abort(self) -> None:
        self.hang_up()


class SimulatedProcess:
    """Implements :class:`gateway.pool.hosting.HostedProcess`; to be used inside a virtual loop."""

    killed = False
    waiting = False
    node: Node | None = None
    download: Download | None = None

    def __init__(self, place: WorkerPlace, tally: Tally) -> None:
        self.link = WorkerLink(place.on_message, place.on_closed, place.watchdog)
        self.pid: int | None = place.number
        self.linked = True
        self._tally = tally
        self._decoder: FrameDecoder[ToWorker] = FrameDecoder(ToWorker)
        self._running: dict[int, _Sequence] = {}
        self._events: list[Event] = []
        self._kept: dict[str, int] = {}
        """Tokens of each conversation that are computed, the least recently used first."""
        self._steps = 0
        self._stepping = False
        self._over = asyncio.Event()

    async def start(self) -> None:
        transport = _Transport(self._take, self._hang_up)
        self.link.connection_made(cast(asyncio.Transport, transport))
        self.link.data_received(encode(Ready(0, SLOTS, MODEL)))
        self._beat()

    def kill(self) -> None:
        self._hang_up()

    async def end(self) -> int | None:
        await self._over.wait()
        return 0

    def _hang_up(self) -> None:
        if self.linked:
            self.linked = False
            self.link.connection_lost(None)
            self._over.set()

    def _beat(self) -> None:
        if self.linked:
            self.link.data_received(_BEAT)
            asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    # ------------------------------------------------------------------ what the gateway asks

    def _take(self, frame: bytes) -> None:
        began = time.perf_counter_ns()
        for message in self._decoder.feed(frame):
            if isinstance(message, Generate):
                self._begin(message)
            elif isinstance(message, Cancel | Park):
                self._leave(message)
        if not self._stepping:
            self._stepping = True
            asyncio.get_running_loop().call_soon(self._step)
        took = time.perf_counter_ns() - began
        self._tally.own_ns += took
        self._tally.taking_ns += took

    def _begin(self, request: Generate) -> None:
        assert isinstance(request.prompt, Text)
        text = request.prompt.text
        tokens = len(text) // BYTES_PER_TOKEN
        cached = min(self._kept.pop(_conversation(text), 0), tokens)
        limit = request.params.max_tokens or 1
        self._running[request.id] = _Sequence(
            request, limit - len(request.resume), tokens - cached + len(request.resume), cached
        )

    def _leave(self, message: Cancel | Park) -> None:
        found = self._running.pop(message.id, None)
        if found is None:
            return
        self._keep(found)
        attempt = found.request.attempt
        self._events.append(
            Parked(message.id, attempt)
            if isinstance(message, Park)
            else Finished(message.id, attempt, "cancelled", [], "")
        )

    def _keep(self, sequence: _Sequence) -> None:
        """Remember a conversation's computed tokens; the oldest go for them."""
        assert isinstance(sequence.request.prompt, Text)
        text = sequence.request.prompt.text
        self._kept[_conversation(text)] = len(text) // BYTES_PER_TOKEN
        while sum(self._kept.values()) > CELLS:
            del self._kept[next(iter(self._kept))]

    # ------------------------------------------------------------------ steps

    def _step(self) -> None:
        began = time.perf_counter_ns()
        budget = CHUNK
        for sequence in list(self._running.values()):
            budget = self._advance(sequence, budget)
        if not self._running and not self._events:
            self._stepping = False
            self._tally.own_ns += time.perf_counter_ns() - began
            return
        self._steps += 1
        frame = encode(Step(self._events, Load(steps=self._steps, running=len(self._running))))
        self._events.clear()
        took = STEP_S + (CHUNK - budget) * PREFILL_S
        loop = asyncio.get_running_loop()
        self._tally.frames += self._tally.counting
        loop.call_later(took, self.link.data_received, frame)
        loop.call_later(took, self._step)
        self._tally.own_ns += time.perf_counter_ns() - began

    def _advance(self, sequence: _Sequence, budget: int) -> int:
        """Compute a part of its prompt or a token; return what is left of the budget."""
        id_, attempt = sequence.request.id, sequence.request.attempt
        part = min(sequence.to_compute, budget)
        sequence.to_compute -= part
        if sequence.to_compute:
            return budget - part
        if not sequence.said:
            self._start(sequence)
        sequence.left -= 1
        self._tally.tokens += self._tally.counting
        if sequence.left > 0:
            self._events.append(Delta(id_, attempt, [7], " word"))
        else:
            del self._running[id_]
            self._keep(sequence)
            self._events.append(Finished(id_, attempt, "length", [7], " word"))
        return budget - part

    def _start(self, sequence: _Sequence) -> None:
        assert isinstance(sequence.request.prompt, Text)
        sequence.said = True
        tokens = len(sequence.request.prompt.text) // BYTES_PER_TOKEN
        if self._tally.counting and not sequence.request.resume:
            self._tally.prompt_tokens += tokens
            self._tally.cached_tokens += sequence.cached
        started = Started(sequence.request.id, sequence.request.attempt, tokens, sequence.cached)
        self._events.append(started)


@dataclass
class SimulatedHost:
    """Implements :class:`gateway.pool.hosting.Host`."""

    tally: Tally
    file_state: FileState = "same"
    refusal: str | None = None
    processes: list[SimulatedProcess] = field(default_factory=list)

    async def open(self, spec: WorkerSpec) -> WorkerSpec:
        return spec

    async def look(self) -> None:
        return None

    def process(self, place: WorkerPlace, spec: WorkerSpec) -> SimulatedProcess:
        return SimulatedProcess(place, self.tally)

    async def leave(self, number: int) -> None:
        return None

    async def close(self) -> None:
        return None


_BEAT = encode(Heartbeat())


def _conversation(text: str) -> str:
    """Return the name with which its prompts begin."""
    return text[: text.index("\n")]
