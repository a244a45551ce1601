"""From a ticket's events to what a client is told: the parts that all dialects share."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypeVar

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message
from typing_extensions import TypedDict

from gateway.api import kept_probabilities
from gateway.core.usage import DraftCounts
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.sequence import Sequence
from gateway.dispatch.ticket import Ticket
from workers.protocol import Delta, Finished, Logprob

T = TypeVar("T")

COLLECTED = 64
"""Events of an answer that is told as a whole, between two looks at them: each costs a turn of the
loop. Far fewer than pause a generation."""


class Pace(TypedDict):
    """Milliseconds since arrival, and the rate from the first token to the end, pauses included."""

    queue_ms: float | None
    """Time until it had a slot."""
    ttft_ms: float | None
    """Time until its first token."""
    total_ms: float | None
    tokens_per_second: float | None
    """Null if none came after the first."""


class Timings(TypedDict):
    """llama-server's names; milliseconds."""

    cache_n: int
    """Tokens of the prompt that were computed before."""
    prompt_n: int
    """Tokens of the prompt that had to be computed."""
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    """Tokens of the answer."""
    predicted_ms: float
    """From the first of them to the end."""
    predicted_per_token_ms: float
    """Time of each after the first, which comes with the prompt; 0 if there are none."""
    predicted_per_second: float
    draft_n: NotRequired[int]
    """Tokens that were computed ahead, if any were: drafts from the request's own text."""
    draft_n_accepted: NotRequired[int]
    """Number of those that are in the answer."""


@dataclass(slots=True)
class Call:
    """A tool call of an answer; ``arguments`` is the text of a JSON object."""

    name: str
    arguments: str = ""


@dataclass(slots=True)
class Completion:
    """One whole answer of a request, which may ask for several; it grows with the events."""

    text: str = ""
    reason: str = ""
    """The reason of its end; "" before."""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list)
    probable: Callable[[Logprob], Any] | None = None
    """The form in which a token is kept with its probabilities; None: they are not told."""
    logprobs: list[Any] = field(default_factory=list)
    """The tokens in that form."""
    prompt: str = ""
    """The text of the prompt, if that was asked for."""
    stop: str | None = None
    """The stop string that ended it, if one did."""

    def take(self, event: Delta | Finished) -> None:
        """Add what the next event brings."""
        self.text += event.text
        if event.extra is not None:
            self.reasoning += event.extra.reasoning
            self.prompt = event.extra.prompt or self.prompt
            if self.probable is not None:
                self.logprobs += map(self.probable, event.extra.logprobs)
            for call in event.extra.calls:
                if call.name is not None:
                    self.calls.append(Call(call.name))
                self.calls[call.index].arguments += call.arguments
        if isinstance(event, Finished):
            self.reason, self.stop = event.reason, event.stop


def pace(ticket: Ticket) -> Pace:
    """Return the durations of the parts of a request that has ended."""
    arrived, ended, first = ticket.arrived_ns, ticket.ended_ns, ticket.first_token_ns

    def since_arrival(moment_ns: int | None) -> float | None:
        return None if moment_ns is None else round((moment_ns - arrived) / 1e6, 3)

    rate = ticket.tokens_per_second
    return {
        "queue_ms": since_arrival(ticket.dispatched_ns),
        "ttft_ms": since_arrival(first),
        "total_ms": since_arrival(ended),
        "tokens_per_second": None if rate is None else round(rate, 2),
    }


def llama_timings(ticket: Ticket) -> Timings:
    """The timings of a request under llama-server's names, so far or of all of it.

    Of several completions as if they were one. The prompt's time ends with the first token.
    """
    usage = ticket.usage
    started, first, ended = ticket.dispatched_ns, ticket.first_token_ns, ticket.ended_ns
    if ended is None:
        ended = max((each.last_token_ns or 0 for each in ticket.sequences), default=0) or None
    prompt_ms = 0.0 if first is None or started is None else (first - started) / 1e6
    predicted_ms = 0.0 if first is None or ended is None else (ended - first) / 1e6
    found = timings(
        cached=usage.cached,
        computed=usage.prompt - usage.cached,
        prompt_ms=prompt_ms,
        predicted=usage.completion,
        predicted_ms=predicted_ms,
        later=ticket.later_tokens,
    )
    return _with_drafts(found, usage.drafts)


def answer_timings(sequence: Sequence) -> Timings:
    """Return the timings of one answer.

    Their cost must not depend on the number of the request's answers, for a stream may ask for them
    with every token.
    """
    started, began = sequence.started, sequence.began_ns
    first, last = sequence.first_token_ns, sequence.last_token_ns
    prompt, cached = (0, 0) if started is None else (started.prompt_tokens, started.cached_tokens)
    found = timings(
        cached=cached,
        computed=prompt - cached,
        prompt_ms=0.0 if first is None or began is None else (first - began) / 1e6,
        predicted=len(sequence.ids),
        predicted_ms=0.0 if first is None or last is None else (last - first) / 1e6,
        later=len(sequence.ids) - sequence.first_ids,
    )
    return _with_drafts(found, sequence.drafts)


def _with_drafts(found: Timings, drafts: DraftCounts) -> Timings:
    if drafts.steps:
        found["draft_n"], found["draft_n_accepted"] = drafts.drafted, drafts.accepted
    return found


def timings(
    *,
    cached: int,
    computed: int,
    prompt_ms: float,
    predicted: int = 0,
    predicted_ms: float = 0.0,
    later: int = 0,
) -> Timings:
    """Return llama-server's timings of a prompt, of which so much was computed, and an answer.

    ``later``: tokens after the first, in ``predicted_ms``.
    """
    return {
        "cache_n": cached,
        "prompt_n": computed,
        "prompt_ms": prompt_ms,
        "prompt_per_token_ms": _ratio(prompt_ms, computed),
        "prompt_per_second": _ratio(computed * 1000, prompt_ms),
        "predicted_n": predicted,
        "predicted_ms": predicted_ms,
        "predicted_per_token_ms": _ratio(predicted_ms, later),
        "predicted_per_second": _ratio(later * 1000, predicted_ms),
    }


def _ratio(value: float, by: float) -> float:
    return value / by if by else 0.0


def json_response(value: Any, status: int = 200, retry_after: int | None = None) -> Response:
    """``value`` as JSON; ``retry_after`` (seconds) becomes the header."""
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    return Response(orjson.dumps(value), status, headers, media_type="application/json")


async def collect(
    dispatcher: Dispatcher,
    ticket: Ticket,
    receive: Callable[[], Awaitable[Message]],
    probable: Callable[[Logprob], Any] | None = None,
) -> list[Completion]:
    """Wait for all answers. Raises the ticket's error, or ClientDisconnect on a hang-up.

    ``probable``: the form in which the probabilities of a token are kept.
    """
    return await serve_ticket(dispatcher, ticket, receive, _gather(ticket, probable))


async def _gather(ticket: Ticket, probable: Callable[[Logprob], Any] | None) -> list[Completion]:
    found, kept = [Completion(probable=probable) for _ in ticket.sequences], 0
    while not all(completion.reason for completion in found):
        for event in await ticket.take(enough=COLLECTED):
            if isinstance(event, Delta | Finished):
                kept = kept_probabilities.count(ticket.job, event, kept)
                found[ticket.index(event)].take(event)
    return found


async def serve_ticket(
    dispatcher: Dispatcher,
    ticket: Ticket,
    receive: Callable[[], Awaitable[Message]],
    work: Awaitable[T],
) -> T:
    """Do as :func:`unless_hung_up` does.

    However this ends, the ticket is ended too: nothing is computed without a client.
    """
    try:
        return await unless_hung_up(receive, work)
    finally:
        dispatcher.cancel(ticket)


async def unless_hung_up(receive: Callable[[], Awaitable[Message]], work: Awaitable[T]) -> T:
    """The result of ``work``, unless the client goes away first (ClientDisconnect).

    The work stays in the task that calls; only the watch over the client needs one. As in
    :func:`asyncio.timeout`, what ends the work is a cancellation that is taken back here.
    """
    worker = asyncio.current_task()
    assert worker is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        worker.cancel()

    cancelling = worker.cancelling()
    watcher = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if gone and worker.uncancel() <= cancelling:
            raise ClientDisconnect from None
        raise
    finally:
        watcher.cancel()
