"""Headers of every response: X-Request-Id, X-Queue-Wait, the key's remaining quota, and more."""

from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.core.clock import NANO
from gateway.core.priority import priority_text
from gateway.dispatch.rate_limits import KeyQuota
from gateway.dispatch.ticket import Ticket, request_name


class TicketHeaders:
    """Adds the headers when the response starts, from what endpoints leave in the state."""

    def __init__(self, app: ASGIApp, clock_ns: Callable[[], int]) -> None:
        self._app = app
        self._clock_ns = clock_ns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                ticket: Ticket | None = state.get("ticket")
                fields = (
                    without_ticket(state) if ticket is None else describe(ticket, self._clock_ns())
                )
                allowance: KeyQuota | None = state.get("allowance")
                if allowance is not None:
                    fields |= allowance.headers()
                if "ignored" in state:
                    fields["X-Ignored-Parameters"] = state["ignored"]
                ours = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
                message = {**message, "headers": [*message["headers"], *ours]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


def seconds(nanoseconds: int) -> str:
    """Return a time as headers give it: in seconds, to the microsecond."""
    return f"{nanoseconds / NANO:.6f}"


def without_ticket(state: dict[str, Any]) -> dict[str, str]:
    """Return the headers of a response to a request that never became a job."""
    return {"X-Request-Id": request_name(state), "X-Queue-Wait": seconds(0)}


def describe(ticket: Ticket, now_ns: int) -> dict[str, str]:
    """Return a request's id, priority, seed and its wait for a worker (so far, if it waits)."""
    moments = (ticket.dispatched_ns, ticket.ended_ns, now_ns)
    until = next(moment for moment in moments if moment is not None)
    job = ticket.job
    seed = {"X-Seed": str(job.params.sampling.seed)} if job.params.generates else {}
    return {
        "X-Request-Id": ticket.request_id,
        "X-Priority": priority_text(job.priority),
        "X-Queue-Wait": seconds(until - ticket.arrived_ns),
        **seed,
    }
