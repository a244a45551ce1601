"""The stages of a request and of a streamed token, each by itself, in one process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import orjson
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.api import body
from gateway.api.openai.chat import ChatBody, ChatEnvelope
from gateway.api.reply import Completion
from gateway.app import Gateway
from gateway.config.config import Config
from gateway.core.api_key import ANYONE
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket
from gateway.pool import Listener, WorkerStatus
from workers.protocol import (
    AdapterFile,
    Delta,
    Event,
    Finished,
    FrameDecoder,
    FromWorker,
    Generate,
    Load,
    ModelInfo,
    Question,
    Started,
    Step,
    encode,
)

from .measure import CHAT, ONE
from .null_worker import MODEL, PIECE, PROMPT_TOKENS, TOKEN

WHOLE = "all of the application"
WIDTH = 32
"""Streams in a step's frame."""


@dataclass(frozen=True, slots=True)
class Stage:
    """``us``: microseconds for each request, or each token."""

    name: str
    us: float


class InstantPool:
    """Implements :class:`gateway.pool.Pool`: answers in the same turn of the loop, or on demand."""

    def __init__(self) -> None:
        self.model: ModelInfo | None = MODEL
        self.trouble: str | None = None
        self.answers = True
        """False: the one who asks plays the worker."""
        self.submitted: list[Generate] = []
        self._listener: Listener | None = None

    async def start(self, listener: Listener) -> None:
        self._listener = listener

    def ready(self) -> bool:
        return True

    def free(self) -> int:
        return 1

    def submit(self, request: Generate, session: str = "") -> int:
        if not self.answers:
            self.submitted = [request]
            return 0
        self.tell(Started(request.id, request.attempt, PROMPT_TOKENS, 0))
        self.tell(Finished(request.id, request.attempt, "length", [TOKEN], PIECE))
        return 0

    def tell(self, event: Event) -> None:
        assert self._listener is not None
        self._listener.on_event(event)

    def node(self, worker: int) -> str | None:
        return None

    def reserve(self) -> bool:
        return False

    def submit_alone(self, request: Generate) -> int:
        raise NotImplementedError

    def release(self) -> bool:
        return False

    def cancel(self, id_: int) -> None:
        return None

    def park(self, id_: int) -> None:
        return None

    async def adapt(self, adapters: Sequence[AdapterFile]) -> None:
        return None

    async def ask(self, question: Question) -> bytes:
        raise NotImplementedError

    def drain(self) -> None:
        return None

    def workers(self) -> list[WorkerStatus]:
        return []

    def placements(self) -> Mapping[str, int]:
        return {}

    def leaks(self) -> list[str]:
        return []

    async def stop(self) -> None:
        return None


class Sink(asyncio.Transport):
    """A transport that takes everything and sends nothing."""

    def write(self, data: Any) -> None:
        return None

    def is_closing(self) -> bool:
        return False


async def timed(work: Callable[[], Awaitable[None]], batch: int, scale: int = 1) -> float:
    """CPU microseconds of one of the ``scale`` things that ``work`` does; the median of runs."""
    found = []
    for _ in range(7):
        start = time.process_time()
        for _ in range(batch):
            await work()
        found.append(1e6 * (time.process_time() - start) / batch / scale)
    return median(found)


def plain(work: Callable[[], object]) -> Callable[[], Awaitable[None]]:
    """A function as a coroutine that never waits: costs a tenth of a microsecond."""

    async def run() -> None:
        work()

    return run


def scope(path: str, raw: bytes) -> dict[str, Any]:
    """Return a request as uvicorn tells of it."""
    headers = [(b"host", b"bench"), (b"content-type", b"application/json")]
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http",
        "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "state": {},
        "headers": [*headers, (b"content-length", b"%d" % len(raw))],
    }  # fmt: skip


def served(app: ASGIApp, path: str, raw: bytes) -> Callable[[], Awaitable[None]]:
    """One request to an application, as uvicorn hands it over; the client stays."""

    async def serve() -> None:
        messages: list[Message] = [{"type": "http.request", "body": raw, "more_body": False}]

        async def receive() -> Message:
            if not messages:
                await asyncio.Event().wait()
            return messages.pop()

        async def send(message: Message) -> None:
            return None

        await app(scope(path, raw), receive, send)

    return serve


class Bench:
    """A gateway without sockets, and what it works on."""

    def __init__(self, config: Config | None = None) -> None:
        self.raw = ONE[CHAT]
        self.pool = InstantPool()
        self.gateway = Gateway(config or Config(alias="null"), pool=self.pool)
        self.request = Request(scope(CHAT, self.raw))
        self.request.state.key = ANYONE
        self.given = body.parse(ChatBody, orjson.loads(self.raw))

    @property
    def dispatcher(self) -> Dispatcher:
        return self.gateway.dispatcher

    def job(self) -> Job:
        return body.job(
            self.request, self.given, self.given.prompts(), size=len(self.raw), temperature=1.0,
            max_tokens=self.given.limit(),
        )  # fmt: skip

    async def running(self) -> tuple[Ticket, Generate]:
        """A request that has a slot, and what its worker was told."""
        self.pool.answers = False
        ticket = self.dispatcher.submit(self.job())
        await asyncio.sleep(0.01)  # for the dispatcher's task
        (request,) = self.pool.submitted
        self.pool.submitted, self.pool.answers = [], True
        return ticket, request


def streaming(pool: InstantPool, tokens: int) -> None:
    """Let a pool answer what comes from now on token by token, one in each turn of the loop."""

    def submit(request: Generate, session: str = "") -> int:
        loop, left = asyncio.get_running_loop(), tokens
        pool.tell(Started(request.id, request.attempt, PROMPT_TOKENS, 0))

        def step() -> None:
            nonlocal left
            left -= 1
            if left:
                pool.tell(Delta(request.id, request.attempt, [TOKEN], PIECE))
                loop.call_soon(step)
            else:
                pool.tell(Finished(request.id, request.attempt, "length", [TOKEN], PIECE))

        loop.call_soon(step)
        return 0

    pool.submit = submit  # type: ignore[method-assign]


async def of_a_request(bench: Bench, repeats: int) -> list[Stage]:
    """In the order in which they happen, and then all together."""
    job, (ticket, generate) = bench.job(), await bench.running()
    events: list[Event] = [
        Started(generate.id, generate.attempt, PROMPT_TOKENS, 0),
        Finished(generate.id, generate.attempt, "length", [TOKEN], PIECE),
    ]
    frame, decoder = encode(Step(events, Load())), FrameDecoder[FromWorker](FromWorker)
    for event in events:
        bench.pool.tell(event)
    envelope = ChatEnvelope(ticket, "null", bench.given)
    answer = [Completion(PIECE, "length")]

    async def queue() -> None:
        """Into the heap, out of it, and its end; the pool answers at once."""
        ticket = bench.dispatcher.submit(job)
        await ticket.take()
        assert ticket.ended

    async def echo(request: Request) -> Response:
        return JSONResponse(await request.json())

    bare = Starlette(routes=[Route("/", echo, methods=["POST"])])
    work: dict[str, Callable[[], Awaitable[None]]] = {
        "parse JSON": plain(lambda: orjson.loads(bench.raw)),
        "validate": plain(lambda: body.parse(ChatBody, orjson.loads(bench.raw))),
        "make the job": plain(bench.job),
        "queue, dispatch, end": queue,
        "encode for the worker": plain(lambda: encode(generate)),
        "decode the worker's frame": plain(lambda: list(decoder.feed(frame))),
        "write the answer": plain(lambda: orjson.dumps(envelope.whole(answer))),
        WHOLE: served(bench.gateway.app(), CHAT, bench.raw),
        "all of a bare echo": served(bare, "/", bench.raw),
    }
    return [Stage(name, await timed(each, repeats)) for name, each in work.items()]


async def of_a_token(bench: Bench, repeats: int) -> list[Stage]:
    """Of a stream, one write for each token."""
    ticket, generate = await bench.running()
    bench.pool.tell(Started(generate.id, generate.attempt, PROMPT_TOKENS, 0))
    delta = Delta(generate.id, generate.attempt, [TOKEN], PIECE)
    frame = encode(Step([delta] * WIDTH, Load()))
    decoder = FrameDecoder[FromWorker](FromWorker)
    envelope = ChatEnvelope(ticket, "null", bench.given)
    chunk = envelope.event(delta)
    cycle = RequestResponseCycle(
        scope=scope(CHAT, b""), transport=Sink(), flow=FlowControl(Sink()),  # type: ignore[arg-type]
        logger=logging.getLogger("bench"), access_logger=logging.getLogger("bench"),
        access_log=False, default_headers=[], message_event=asyncio.Event(),
        expect_100_continue=False, keep_alive=True, on_response=lambda: None,
    )  # fmt: skip
    await cycle.send({"type": "http.response.start", "status": 200, "headers": []})

    async def account() -> None:
        """Through the dispatcher into the ticket, and out of it."""
        bench.pool.tell(delta)
        await ticket.take(5.0)

    async def wait() -> None:
        """Wait for each token, as a client does that is faster."""
        asyncio.get_running_loop().call_soon(bench.pool.tell, delta)
        await ticket.take(5.0)

    async def write() -> None:
        await cycle.send({"type": "http.response.body", "body": chunk, "more_body": True})

    found = [
        Stage(
            "decode the step's frame",
            await timed(plain(lambda: list(decoder.feed(frame))), repeats, WIDTH),
        ),
        Stage("account, deliver, take", await timed(account, repeats)),
        Stage("the same, and wait for it", await timed(wait, repeats)),
        Stage("render the event", await timed(plain(lambda: envelope.event(delta)), repeats)),
        Stage("uvicorn's send, without the system's", await timed(write, repeats)),
    ]
    bench.dispatcher.cancel(ticket)
    return found


class Stages(NamedTuple):
    """Times of the stages."""

    request: list[Stage]
    rooms: list[Stage]
    """Of a request, too: these add up."""
    token: list[Stage]


async def _all(repeats: int) -> Stages:
    from .rooms import by_room  # late: it takes the type of a stage from here

    bench = Bench()
    await bench.gateway.start()
    try:
        request = await of_a_request(bench, repeats)
        (whole,) = (stage.us for stage in request if stage.name == WHOLE)
        rooms = await by_room(served(bench.gateway.app(), CHAT, bench.raw), whole, repeats)
        return Stages(request, rooms, await of_a_token(bench, 3 * repeats))
    finally:
        await bench.gateway.stop()


def measure(repeats: int) -> Stages:
    """The stages of a request and of a token, from ``repeats`` of each."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_all(repeats))
