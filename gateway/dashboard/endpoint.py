"""The live page at / and /dashboard, the stream that feeds it, and its flood."""

import time
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.api import body
from gateway.api.admin import is_admin
from gateway.api.endpoint import EVENTS, JSON, Endpoint
from gateway.api.local import from_here
from gateway.api.ollama.presence import root
from gateway.api.page_files import packaged
from gateway.api.reply import json_response, unless_hung_up
from gateway.api.service import Service
from gateway.config.engine_options import EMBEDDED_MODEL
from gateway.core.api_key import ApiKey
from gateway.core.errors import LoopbackOnly, PriorityNotAllowed
from gateway.core.priority import PRIORITIES
from gateway.core.strict import STRICT
from gateway.dashboard import static
from gateway.dashboard.deltas import event
from gateway.dashboard.flood import Flood
from gateway.dashboard.live import Live
from gateway.dashboard.view import LISTED
from gateway.served.served_model import ServedModel

PAGE = ("index.html", "text/html")
PROGRAMS = (
    *("batches", "captures", "charts", "copy", "flood", "format", "heap", "key", "main"),
    *("requests", "sse", "store", "stream", "summary", "twice", "uplot", "usage", "workers"),
    *(f"chat/{name}" for name in ("answering", "archive", "calls", "chat", "conversation")),
    *(f"chat/{name}" for name in ("export", "list", "message", "pictures", "settings")),
    *(f"chat/{name}" for name in ("shortcuts", "transcript")),
    *(f"markdown/{name}" for name in ("blocks", "code", "colours", "inline", "markdown")),
)
STYLES = ("captures", "charts", "chat", "markdown", "page", "parts", "uplot")
FILES = {
    "/dashboard": PAGE,
    **{f"/dashboard/{name}.js": (f"{name}.js", "text/javascript") for name in PROGRAMS},
    **{f"/dashboard/{name}.css": (f"{name}.css", "text/css") for name in STYLES},
    "/dashboard/icon.svg": ("icon.svg", "image/svg+xml"),
}

MOST = 200
"""Requests of one class in a burst."""
Number = Annotated[int, Field(ge=0, le=MOST)]


class FloodBody(BaseModel):
    """The number of requests of each class, and their length."""

    model_config = STRICT

    batch: Number = 0
    normal: Number = 0
    urgent: Number = 0
    tokens: Annotated[int, Field(ge=1, le=4096)] = 256


class Dashboard:
    """The page is open to all; with keys, the stream and the flood need one."""

    def __init__(self, service: Service, live: Live) -> None:
        self._service = service
        self._live = live
        self._flood = Flood(service)

    def endpoints(self) -> list[Endpoint]:
        (page,) = packaged(static.__name__, {"/": PAGE})
        return [
            root(page.handler),
            *packaged(static.__name__, FILES),
            Endpoint(path="/dashboard/events", handler=self.events, answers={EVENTS: str}),
            Endpoint(
                path="/dashboard/flood", handler=self.flood, method="POST", answers={JSON: object}
            ),
        ]

    async def events(self, request: Request) -> Response:
        """The page's stream: everything, then the changes.

        A key that is limited to some models sees what is about those, and sums over all.
        """
        if request.method == "HEAD":
            return Response(media_type=EVENTS)
        config, key = self._service.config, request.state.key
        self._live.join(key)
        models = self._service.models(request)
        stored = self._service.store is not None and self._service.store.is_open
        hello = {
            "model": models[0].name if models else "",
            "models": [each.name for each in models],
            "embedded": [each.name for each in models if embedded(each)],
            "rate": config.aging_rate,
            "listed": LISTED,
            "flood": from_here(request),
            "counted": config.metrics,
            "usage": is_admin(request) and bool(self._service.accounts.days),
            "batches": stored,
            "captures": stored and is_admin(request),
        }
        ring = self._service.accounts.keyring
        return Stream(self._live, key, event("hello", hello), lambda: ring.holds(key))

    async def flood(self, request: Request) -> Response:
        """A burst of requests, asked for from this machine."""
        if not from_here(request):
            raise LoopbackOnly("a flood is only for clients on the server's own machine")
        raw, _ = await self._service.read(request)
        given = body.parse(FloodBody, raw)
        numbers = {"batch": given.batch, "normal": given.normal, "urgent": given.urgent}
        key: ApiKey = request.state.key
        for kind, number in numbers.items():
            if number and PRIORITIES[kind] > key.max_priority:
                raise PriorityNotAllowed(f"'{kind}': not with this API key", param=kind)
        accepted = self._flood.start(request, numbers, given.tokens, time.time())
        return json_response({"accepted": accepted})


def embedded(served: ServedModel) -> bool:
    """Return whether it is the small model that comes with Forge, under whatever name."""
    return served.config.model.absolute() == EMBEDDED_MODEL


class Stream(Response):
    """Follows for as long as the client listens. It has a place among the viewers already."""

    media_type = EVENTS

    def __init__(self, live: Live, key: ApiKey, hello: bytes, holds: Callable[[], bool]) -> None:
        """``hello`` comes first, for this viewer alone; ``holds``: the key is still good.

        The stream has no end of its own: a key that was revoked would see for ever.
        """
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._live = live
        self._key = key
        self._hello = hello
        self._holds = holds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["endless"] = True  # a connection that half closes has no answer to wait for
        try:
            await unless_hung_up(receive, self._follow(send))
        except ClientDisconnect:
            return
        finally:
            self._live.leave(self._key)

    async def _follow(self, send: Send) -> None:
        start: Literal["http.response.start"] = "http.response.start"
        await send({"type": start, "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._hello, "more_body": True})
        async for chunk in self._live.follow(self._key):
            if not self._holds():
                break
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
