"""What every response tells about its request: X-Request-Id, and once it is a ticket, more."""

import secrets

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.aging import NANO
from gateway.api.body import priority_text
from gateway.ticket import Ticket


class TicketHeaders:
    """Adds the headers when the response starts; endpoints leave their ticket in the state."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                ticket: Ticket | None = state.get("ticket")
                if ticket is None:
                    headers["X-Request-Id"] = secrets.token_hex(12)
                else:
                    headers.update(describe(ticket))
            await send(message)

        await self._app(scope, receive, send_with_headers)


def describe(ticket: Ticket) -> dict[str, str]:
    """Who the request is, what its priority and seed are, and how long it waited (seconds)."""
    started = ticket.dispatched_ns if ticket.dispatched_ns is not None else ticket.ended_ns
    fields = {
        "X-Request-Id": ticket.request_id,
        "X-Priority": priority_text(ticket.job.priority),
        "X-Seed": str(ticket.job.sampling.seed),
    }
    if started is not None:
        fields["X-Queue-Wait"] = f"{(started - ticket.arrived_ns) / NANO:.6f}"
    return fields
