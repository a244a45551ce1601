"""GET /openapi.json, and GET /docs: a page to read it and to try it out, without a network.

The page's program is Swagger UI, as published: see the licence and the notice beside it.
"""

import asyncio
import hashlib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.endpoint import JSON, Endpoint, Handler

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # Swagger UI's icons are in its style sheet
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Nothing from anywhere else, and nothing inline."""
HEADERS = {
    "Cache-Control": "no-cache",  # keep it, and ask whether it is still the same
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
FILES = {
    "/docs": ("page.html", "text/html"),
    "/docs/page.css": ("page.css", "text/css"),
    "/docs/page.js": ("page.js", "text/javascript"),
    "/docs/swagger-ui.css": ("swagger-ui.css", "text/css"),
    "/docs/swagger-ui-bundle.js": ("swagger-ui-bundle.js", "text/javascript"),
}


class Docs:
    """The document's and the page's endpoints. Nothing there is secret: they need no key."""

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        """``describe`` makes the document. It takes a while, and most servers are never asked."""
        self._describe = describe
        self._document: File | None = None
        self._lock = asyncio.Lock()

    def endpoints(self) -> list[Endpoint]:
        found = [_endpoint("/openapi.json", self.document, JSON)]
        for path, (name, media) in FILES.items():
            found.append(_endpoint(path, _serve(name, media), media))
        return found

    async def document(self, request: Request) -> Response:
        """The description of the API."""
        async with self._lock:
            if self._document is None:
                found = await asyncio.to_thread(self._describe)
                self._document = File(orjson.dumps(found), JSON)
        return self._document.response(request)


class File:
    """What does not change while the server runs."""

    def __init__(self, content: bytes, media: str) -> None:
        self._content, self._media = content, media
        self._etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        self._headers = {**HEADERS, "ETag": self._etag}

    def response(self, request: Request) -> Response:
        """The file, or 304 if the client has it."""
        known = request.headers.get("if-none-match", "").split(",")
        if self._etag in (tag.strip().removeprefix("W/") for tag in known):
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, headers=self._headers, media_type=self._media)


def _endpoint(path: str, handler: Handler, media: str) -> Endpoint:
    return Endpoint(path=path, handler=handler, answers={media: str}, open=True)


def _serve(name: str, media: str) -> Handler:
    @cache
    def file() -> File:
        return File(files(__name__).joinpath(name).read_bytes(), media)

    async def serve(request: Request) -> Response:
        return file().response(request)

    return serve
