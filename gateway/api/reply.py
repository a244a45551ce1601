"""From a ticket's events to what a client is told: the parts that all dialects share."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message

from gateway.aging import NANO
from gateway.dispatcher import Dispatcher
from gateway.ticket import Ticket
from workers.protocol import Delta, Finished

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Completion:
    """One whole answer of a request, which may ask for several."""

    text: str
    reason: str


def timings(ticket: Ticket) -> dict[str, float | None]:
    """Milliseconds since arrival, and the rate from the first token to the end, pauses included."""
    arrived, ended, first = ticket.arrived_ns, ticket.ended_ns, ticket.first_token_ns

    def since_arrival(moment_ns: int | None) -> float | None:
        return None if moment_ns is None else round((moment_ns - arrived) / 1e6, 3)

    rate = None
    tokens = ticket.completion_tokens
    if first is not None and ended is not None and ended > first and tokens > 1:
        rate = round((tokens - 1) * NANO / (ended - first), 2)
    return {
        "queue_ms": since_arrival(ticket.dispatched_ns),
        "ttft_ms": since_arrival(first),
        "total_ms": since_arrival(ended),
        "tokens_per_second": rate,
    }


def json_response(value: Any, status: int = 200, retry_after: int | None = None) -> Response:
    """``value`` as JSON; ``retry_after`` (seconds) becomes the header."""
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    return Response(orjson.dumps(value), status, headers, media_type="application/json")


async def collect(
    dispatcher: Dispatcher, ticket: Ticket, receive: Callable[[], Awaitable[Message]]
) -> list[Completion]:
    """Wait for all answers. Raises the ticket's error, or ClientDisconnect on a hang-up."""
    return await unless_hung_up(dispatcher, ticket, receive, _gather(ticket))


async def _gather(ticket: Ticket) -> list[Completion]:
    parts: list[list[str]] = [[] for _ in ticket.sequences]
    reasons: dict[int, str] = {}
    while len(reasons) < len(parts):
        for event in await ticket.take():
            index = ticket.index(event)
            if isinstance(event, Delta | Finished):
                parts[index].append(event.text)
            if isinstance(event, Finished):
                reasons[index] = event.reason
    return [Completion("".join(text), reasons[index]) for index, text in enumerate(parts)]


async def unless_hung_up(
    dispatcher: Dispatcher,
    ticket: Ticket,
    receive: Callable[[], Awaitable[Message]],
    work: Awaitable[T],
) -> T:
    """The result of ``work``, unless the client goes away first (ClientDisconnect).

    However this ends, the ticket is ended too: nothing is computed for nobody.
    """
    worker = asyncio.ensure_future(work)
    watcher = asyncio.create_task(_hang_up(receive))
    try:
        await asyncio.wait({worker, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not worker.done():
            raise ClientDisconnect
        return worker.result()
    finally:
        dispatcher.cancel(ticket)
        for task in (worker, watcher):
            task.cancel()
        await asyncio.gather(worker, watcher, return_exceptions=True)


async def _hang_up(receive: Callable[[], Awaitable[Message]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
