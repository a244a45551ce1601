"""GET /openapi.json, and GET /docs: a page to read it and to try it out, without a network.

The page's program is Swagger UI, as published: see the licence and the notice beside it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.endpoint import JSON, Endpoint
from gateway.api.page_files import File, open_endpoint, packaged

FILES = {
    "/docs": ("page.html", "text/html"),
    "/docs/page.css": ("page.css", "text/css"),
    "/docs/page.js": ("page.js", "text/javascript"),
    "/docs/swagger-ui.css": ("swagger-ui.css", "text/css"),
    "/docs/swagger-ui-bundle.js": ("swagger-ui-bundle.js", "text/javascript"),
}


class Docs:
    """The document's and the page's endpoints. Nothing there is secret: they need no key."""

    def __init__(
        self, describe: Callable[[bool], dict[str, Any]], keyed: Callable[[], bool]
    ) -> None:
        """``describe`` makes the document of a server that needs keys, or of one that does not.

        It takes a while, and most servers are never asked. ``keyed``: whether it needs one now.
        """
        self._describe, self._keyed = describe, keyed
        self._documents: dict[bool, File] = {}
        self._lock = asyncio.Lock()

    def endpoints(self) -> list[Endpoint]:
        document = open_endpoint("/openapi.json", self.document, JSON)
        return [document, *packaged(__name__, FILES)]

    async def document(self, request: Request) -> Response:
        """The description of the API."""
        async with self._lock:
            keyed = self._keyed()
            if keyed not in self._documents:
                found = await asyncio.to_thread(self._describe, keyed)
                self._documents[keyed] = File(orjson.dumps(found), JSON)
        return self._documents[keyed].response(request)
