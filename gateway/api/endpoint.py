"""One declaration per endpoint: its route is made from it, and so is its description.

What an endpoint takes is the type that validates its bodies, what it answers the type that its
code is checked against, and what may go wrong the classes that are raised.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import cleandoc
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.api.field_policy import fields, policy
from gateway.core import errors
from gateway.core.errors import ForgeError

JSON = "application/json"
EVENTS = "text/event-stream"
FORM = "multipart/form-data"
BYTES = "application/octet-stream"
NDJSON = "application/x-ndjson"

Handler = Callable[[Request], Awaitable[Response]]
Method = Literal["GET", "POST", "PATCH", "DELETE"]


@dataclass(frozen=True, slots=True)
class _Application:
    """The handlers of a path as starlette's router takes them.

    Given a bare handler, the router would put a net for exceptions around each, inside the one
    that is around them all: a layer more for every request, and for every chunk of a stream.
    """

    handlers: Mapping[str, Handler]
    """By their methods."""
    template: str
    """The path in OpenAPI's notation, for those that look at a request from outside."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        handler = self.handlers["GET" if method == "HEAD" else method]
        try:
            response = await handler(Request(scope, receive, send))
        finally:  # what it read of a body with media is gone, but for what its job has
            lease = scope["state"].get("media_lease")
            if lease is not None:
                lease.give_back()
        await response(scope, receive, send)


ANY_REQUEST: tuple[type[ForgeError], ...] = (
    errors.BadRequest,
    errors.MethodNotAllowed,
    errors.HeadersTimeout,
    errors.UrlTooLong,
    errors.HeadersTooLarge,
    errors.InternalError,
    errors.TooManyConnections,
)
ANY_BODY: tuple[type[ForgeError], ...] = (
    errors.UnknownParameter,
    errors.BodyTimeout,
    errors.BodyTooLarge,
    errors.UnsupportedEncoding,
)
WORK: tuple[type[ForgeError], ...] = (
    errors.InvalidPrompt,
    errors.ContextOverflow,
    errors.PriorityNotAllowed,
    errors.CaptureNotAllowed,
    errors.QueueFull,
    errors.Displaced,
    errors.RateLimited,
    errors.BudgetUsedUp,
    errors.DeadlineExceeded,
    errors.Unavailable,
    errors.WorkerFailed,
)
"""Errors of a request that waits for a slot."""
GENERATION: tuple[type[ForgeError], ...] = (*WORK, errors.InvalidConstraint)
CONVERSATION: tuple[type[ForgeError], ...] = (
    errors.ContentNotSupported,
    errors.ImageNotSupported,
    errors.AudioNotSupported,
    errors.VideoNotSupported,
    errors.FileNotSupported,
    errors.InvalidMedia,
)
"""Errors of a request that brings a conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The JSON object that an endpoint takes, or a form."""

    type: type[BaseModel]
    example: Mapping[str, Any] | Sequence[Any]
    """A request that is answered with 200, by a server that has what it names."""
    media: str = JSON
    required: bool = True
    """False: a request without a body is one with its defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A method on a path. The handler's docstring is the summary and, below it, the description."""

    path: str
    """In starlette's notation."""
    handler: Handler
    answers: Mapping[str, Any]
    """The type of the answer for each media type; none: it is empty."""
    failure: Any = None
    """The type of an error's answer, which is the dialect's."""
    method: Method = "GET"
    group: str = ""
    body: Body | None = None
    fails: tuple[type[ForgeError], ...] = ()
    """Errors beside those that any request may meet."""
    queued: Literal["no", "yes", "seeded"] = "no"
    """Its use of a slot: if it waits for one, and if its work there depends on a seed."""
    typed_events: bool = False
    """True: each event of a stream has its type in a line of its own, and no text ends them."""
    parts: bool = False
    """True: the header Range is heeded."""
    later: bool = False
    """True: it may answer while what was asked for still goes on, with 202."""
    ends: bool = True
    """True: a text tells that a stream has ended, unless its events have types."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Meanings of the path's parameters."""
    query: type[BaseModel] | None = None
    """The query's parameters."""
    open: bool = False
    """True: it needs no API key."""
    offered: bool = True
    """False: another program's endpoint, which answers with an error alone."""

    @property
    def template(self) -> str:
        """The path in OpenAPI's notation."""
        return re.sub(r":\w+}", "}", self.path)

    @property
    def texts(self) -> tuple[str, str]:
        """Summary and description."""
        summary, _, rest = cleandoc(self.handler.__doc__ or "").partition("\n\n")
        return " ".join(summary.split()).rstrip("."), rest

    def errors(self) -> dict[int, list[type[ForgeError]]]:
        """All errors that it may answer with, by status."""
        kinds = [*ANY_REQUEST, *self.fails]
        if self.body is not None:
            kinds += ANY_BODY
            kinds += (
                [errors.UnsupportedParameter] if policy(fields(self.body.type)[1]).refused else []
            )
        if not self.open:
            kinds.append(errors.InvalidKey)
        found: dict[int, list[type[ForgeError]]] = {}
        for kind in dict.fromkeys(kinds):
            found.setdefault(kind.status, []).append(kind)
        return dict(sorted(found.items()))


def routes(endpoints: Iterable[Endpoint]) -> list[Route]:
    """Return a route for each path: a method that it lacks is a 405 that lists all it has."""
    handlers: dict[str, dict[str, Handler]] = {}
    templates = {}
    for endpoint in endpoints:
        handlers.setdefault(endpoint.path, {})[endpoint.method] = endpoint.handler
        templates[endpoint.path] = endpoint.template
    return [
        Route(path, _Application(each, templates[path]), methods=[*each])
        for path, each in handlers.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointGroup:
    """Declarations that endpoints of one kind of object share: a list at ``root``, one below it."""

    group: str
    root: str
    failure: Any
    fails: tuple[type[ForgeError], ...]
    which: Mapping[str, str]
    """The meaning of the parameter in the paths below ``root``."""

    def endpoint(
        self, path: str, handler: Handler, answer: Any, *fails: type[ForgeError], **more: Any
    ) -> Endpoint:
        """Return one of them, which may fail as all and with ``fails``."""
        return Endpoint(
            path=path,
            handler=handler,
            group=self.group,
            answers={JSON: answer},
            failure=self.failure,
            fails=(*self.fails, *fails),
            parameters={} if path == self.root else self.which,
            **more,
        )
