"""Files of the package as endpoints: web pages that need no network and no key.

A page gets a policy that lets nothing in from elsewhere, and nothing inline.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.endpoint import Endpoint, Handler

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # icons in style sheets
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Cache-Control": "no-cache",  # keep it, and ask whether it is still the same
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class File:
    """A file that does not change while the server runs."""

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


def open_endpoint(path: str, handler: Handler, media: str) -> Endpoint:
    """One that needs no key and is not described."""
    return Endpoint(path=path, handler=handler, answers={media: str}, open=True)


def packaged(package: str, found: Mapping[str, tuple[str, str]]) -> list[Endpoint]:
    """Endpoints for files of a package: by path, the file's name and its media type."""
    return [
        open_endpoint(path, _serve(package, name, media), media)
        for path, (name, media) in found.items()
    ]


def _serve(package: str, name: str, media: str) -> Handler:
    @cache
    def file() -> File:
        return File(files(package).joinpath(name).read_bytes(), media)

    async def serve(request: Request) -> Response:
        where = _without_slash(request) if media == "text/html" else None
        if where is not None:
            return Response(status_code=308, headers={"Location": where})
        return file().response(request)

    return serve


def _without_slash(request: Request) -> str | None:
    """Return where a page is whose address was given a slash at its end; None without one.

    A page names its parts relative to its folder, so that a proxy may put it into another; with
    the slash it would look for them in itself. This, too, is relative for that reason.
    """
    raw: bytes | None = request.scope.get("raw_path")
    path: str = request.scope["path"]
    given = path if raw is None else raw.decode("latin-1")
    if not given.endswith("/") or not given.strip("/"):
        return None
    return "../" * (given.count("/") - 1) + path.rpartition("/")[2]
