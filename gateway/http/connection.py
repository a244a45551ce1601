"""One HTTP connection: uvicorn's, with the deadlines and the bounds that it lacks.

uvicorn waits for ever for the rest of a request's head, takes heads of any size and any number of
connections, and answers malformed HTTP with plain text, in the middle of a response if need be.
Here each part of a request has a bound, and a client that exceeds one gets an error in JSON, after
the answers that are still due, and the connection ends. :mod:`gateway.api.upload` bounds the time
of a body.

An example with --header-timeout 10. At 0 s a client connects and sends "POST /infer HTTP/1.1": the
part that is read is the HEAD, and a timer of 10 s runs. A byte a second does not extend it: at 10 s
the answer is 408 headers_timeout. Had the head been complete at 3 s, its BODY would be read without
this timer. A head of more than 64 KiB or 256 headers is 431 at once, a URL of more than 8 KiB 414.
After an error the connection lingers for 2 s, in which what the client sends is dropped, so that
the client can read the answer before a reset; at most 128 connections linger at a time. A
connection beyond --max-connections is answered with 503, and closed.

A client that closes its sending half behind its requests is answered all the same if it spoke
HTTP/1.0 or said "Connection: close", and within 1 s otherwise: then it is taken for gone.
"""

import asyncio
import contextlib
from collections.abc import Callable
from enum import Enum
from typing import Any

import httptools
import uvicorn
from starlette.responses import Response
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from gateway.core.errors import (
    BadRequest,
    ForgeError,
    HeadersTimeout,
    HeadersTooLarge,
    TooManyConnections,
    UrlTooLong,
)
from gateway.http.close_delimited import CloseDelimited
from gateway.http.header_names import HeadWriter, canonical_head
from gateway.http.response_headers import without_ticket
from gateway.http.terms import (
    DISCARD_S,
    HALF_CLOSED_S,
    LINGER_S,
    MAX_HEAD,
    MAX_HEADERS,
    MAX_LINGERING,
    MAX_PIPELINED,
    MAX_URL,
    Terms,
)


class Reading(Enum):
    """The part of a request that comes next."""

    NOTHING = "nothing of it is here yet"
    HEAD = "some of the head is here"
    BODY = "the head is here, the body is not, or not all of it"


class Connection(HttpToolsProtocol):
    """A client's connection, from its first byte to its last."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        terms: Terms,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._terms = terms
        self._reading = Reading.NOTHING
        self._unread = 0
        """Bytes since the parser last returned a piece of a body, or began a request."""
        self._running: RequestResponseCycle | None = None
        """The request that is being answered; ``self.cycle`` is the newest."""
        self._failure: ForgeError | None = None
        """The reason why reading has stopped."""
        self._timer: asyncio.TimerHandle | None = None
        self._last = False
        """The newest request is the last one, by its own words."""
        self._half_closed = False

    # The connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._terms.max_connections:
            self._terms.warn()
            self._refuse(
                TooManyConnections("all connections of this server are in use", retry_after=1)
            )
        else:
            self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._set_timer(None)
        self._terms.lingering.discard(self)
        _abandon(self._running)  # uvicorn tells only the newest of pipelined requests
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more: it waits for the rest of its answers, or it is gone.

        TCP does not tell which. A client that has announced its last request (HTTP/1.0,
        ``Connection: close``) may well do so, and waits; another has hung up, unless its answers
        come so soon that finishing them costs little. TLS ends as a whole. True: stay open.
        """
        if not self._busy or not self.transport.can_write_eof():
            return False
        if self._endless and not self._last:
            return False
        if self._reading is Reading.BODY and not self._withdraw():
            return False
        self._half_closed = True
        self._set_timer(None if self._last else HALF_CLOSED_S, self._close)
        return True

    def data_received(self, data: bytes) -> None:
        if self._failure is not None:
            return
        self._unread += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._fail(_explain(error))
            return
        if self._reading is Reading.HEAD and self._timer is None:  # the head is not here whole
            self._set_timer(self._terms.header_timeout, self._headers_are_late)
        if self._unread > MAX_HEAD:
            what = "framing of the body is" if self._reading is Reading.BODY else "headers are"
            self._fail(HeadersTooLarge(f"the {what} larger than {MAX_HEAD} bytes"))

    def _feed(self, data: bytes) -> None:
        """Parse; a request that offers to switch protocols is parsed again without its offer.

        The parser takes the offer for accepted and ends the request at its headers: the body
        would be lost and then be read as a request of its own.
        """
        rest = memoryview(data)
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
                self.parser.feed_data(self._head_without_upgrade())
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version()
        lines = [b"%s %s HTTP/%s" % (method, self.url, version.encode())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    # What the parser finds.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading, self._unread = Reading.HEAD, 0
        self._set_timer(None)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL:
            raise UrlTooLong(f"the URL is longer than {MAX_URL} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading is not Reading.HEAD:
            return  # a trailer: it must not pass for a header
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            raise HeadersTooLarge(f"there are more than {MAX_HEADERS} headers")

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return  # it comes again without the offer
        self._check_head()
        super().on_headers_complete()
        self._last = not self.cycle.keep_alive
        self._set_timer(None)
        self._reading = Reading.BODY
        # uvicorn stops reading when a request waits behind another, and so misses hang-ups.
        self.flow.resume_reading()

    def _check_head(self) -> None:
        """Raise the ForgeError that answers a head which is refused."""
        if sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD:
            raise HeadersTooLarge(f"the headers are larger than {MAX_HEAD} bytes")
        if len(self.pipeline) >= MAX_PIPELINED:
            raise BadRequest(f"more than {MAX_PIPELINED} requests were sent ahead of their answers")
        try:
            path = httptools.parse_url(self.url).path
        except httptools.HttpParserInvalidURLError as error:
            raise BadRequest("the URL can't be understood") from error
        if path is None:
            raise BadRequest("the URL has no path")

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._reading is Reading.HEAD:
            return  # an offer to switch protocols; it comes again
        self._reading = Reading.NOTHING
        super().on_message_complete()
        if not self._busy:
            self._expect_request()

    # Answers.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        cycle.transport = HeadWriter(cycle)
        if cycle.scope["http_version"] == "1.0":
            app = CloseDelimited(app, cycle)
        super()._start_asgi_task(cycle, app)

    @property
    def _busy(self) -> bool:
        return self._running is not None and not self._running.response_complete

    @property
    def _endless(self) -> bool:
        """The answer has no end, by the word that its endpoint left in the request's state."""
        return self._running is not None and "endless" in self._running.scope.get("state", ())

    def on_response_complete(self) -> None:
        """Start the next pipelined request. Replaces uvicorn's method, which sets its own timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._failure is not None:
            self._refuse(self._failure)
        elif self._half_closed:
            self._set_timer(None)
            self.transport.close()
        elif self._reading is Reading.BODY:
            self._set_timer(DISCARD_S, self._close)
        elif self._reading is Reading.NOTHING:
            self._expect_request()

    def _fail(self, error: ForgeError) -> None:
        """Stop reading: ``error`` answers the newest request, when it is its turn."""
        if self.transport.is_closing():
            return
        self._failure = error
        self._set_timer(None)
        culprit = self.cycle if self._reading is Reading.BODY else None
        if self._withdraw():
            return
        if culprit is not None and culprit.response_complete:
            self._linger()
        elif culprit is not None and culprit.response_started:
            self._close()  # too late for an error
        elif culprit is not None or not self._busy:
            self._refuse(error)

    def _withdraw(self) -> bool:
        """Take back the request whose body is not all here; False if it is being answered."""
        if self._reading is not Reading.BODY:
            return False
        waits = bool(self.pipeline) and self.pipeline[0][0] is self.cycle
        if waits:
            self.pipeline.popleft()
        return waits

    def _refuse(self, error: ForgeError) -> None:
        """Answer without the application, and close."""
        self._failure = error
        _abandon(self.cycle)
        self.transport.write(self._encode(self._terms.respond(self._path(), error)))
        self._linger()

    def _path(self) -> str:
        """Return the path of the newest request, as far as it is known."""
        if self._reading is Reading.BODY:
            return str(self.scope["path"])
        if self._reading is Reading.HEAD:
            with contextlib.suppress(httptools.HttpParserInvalidURLError):
                return (httptools.parse_url(self.url).path or b"").decode("ascii", "replace")
        return ""

    def _encode(self, response: Response) -> bytes:
        """Return a whole response, the last of its connection."""
        for name, value in without_ticket({}).items():
            response.headers.setdefault(name, value)
        response.headers["Connection"] = "close"
        headers = (*self.server_state.default_headers, *response.raw_headers)
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        head = STATUS_LINE[response.status_code] + lines + b"\r\n"
        return canonical_head(head) + bytes(response.body)

    # The end.

    def _linger(self) -> None:
        """Close once the client has: bytes left unread would reset the connection, and the
        answer be lost. Not for long, not for many, and TLS can't."""
        self.connections.discard(self)
        if len(self._terms.lingering) >= MAX_LINGERING or not self.transport.can_write_eof():
            self._close()
            return
        self._terms.lingering.add(self)
        self.flow.resume_reading()
        self.transport.write_eof()
        self._set_timer(LINGER_S, self._close)

    def _close(self) -> None:
        """Close the connection; abort it if the client does not read what it was sent."""
        self._set_timer(None)
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    # Patience.

    def _expect_request(self) -> None:
        self._set_timer(self._terms.idle_timeout, self._close)

    def _headers_are_late(self) -> None:
        limit = self._terms.header_timeout
        self._fail(HeadersTimeout(f"the headers were not complete after {limit:g} seconds"))

    def _set_timer(self, seconds: float | None, late: Callable[[], None] | None = None) -> None:
        """Replace the timer; None only stops it."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if seconds is not None and late is not None:
            self._timer = self.loop.call_later(seconds, late)


def _abandon(cycle: RequestResponseCycle | None) -> None:
    """Let a request's task know that its client is gone; what it sends is dropped from now on."""
    if cycle is not None and not cycle.response_complete:
        cycle.disconnected = True
        cycle.message_event.set()


def _explain(error: httptools.HttpParserError) -> ForgeError:
    """Return the error for the client: a callback's own, or one with the parser's message."""
    if isinstance(error.__context__, ForgeError):
        return error.__context__
    return BadRequest(f"malformed HTTP/1.1: {error}")
