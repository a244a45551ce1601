"""A server on this machine that speaks as much of the hub's API as getting a model takes.

It also has files at plain addresses, and can cut answers off, alter them, and keep them waiting.
"""

import asyncio
import hashlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.server import eventually

COMMIT = "1234567890abcdef1234567890abcdef12345678"
TOKEN = "hf_secret"
CHUNK = 1 << 16


@dataclass
class Seen:
    """One request for content."""

    path: str
    range: str | None
    authorization: str | None


@dataclass
class Hub:
    """Contents and conduct of a hub, and the requests that came."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    """At /files/NAME."""
    headers: dict[str, str] = field(default_factory=dict)
    """Of those."""
    gated: set[str] = field(default_factory=set)
    """Repositories that ask for TOKEN."""
    cuts: list[int] = field(default_factory=list)
    """After so many bytes the next answers end."""
    hold_after: int | None = None
    """After so many bytes answers wait for ever."""
    alter: bool = False
    """True if contents differ from what their hashes say."""
    lengths: bool = True
    """True if answers say how long they are."""
    surplus: int = 0
    """Zeros behind each content that nothing tells of."""
    lfs: bool = True
    """True if files are kept beside the hub's repositories, by their hashes; False: in them."""
    seen: list[Seen] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    """Set once an answer waits."""
    left: threading.Event = field(default_factory=threading.Event)
    """Set once the client of an answer that waits has gone."""
    url: str = ""

    def environment(self, home: str) -> dict[str, str]:
        """For processes that are to use it, with caches of their own."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": f"{home}/hf",
            "XDG_CACHE_HOME": f"{home}/cache",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def _refused(self, request: Request, repository: str) -> Response | None:
        token = request.headers.get("authorization")
        if token not in (None, f"Bearer {TOKEN}"):
            said = {"X-Error-Message": "Invalid credentials in Authorization header"}
            return Response(status_code=401, headers=said)
        if repository not in self.repositories:
            return Response(status_code=401 if token is None else 404,
                            headers={"X-Error-Code": "RepoNotFound"})  # fmt: skip
        if repository in self.gated and token is None:
            return Response(status_code=401, headers={"X-Error-Code": "GatedRepo"})
        return None

    async def model(self, request: Request) -> Response:
        repository = f"{request.path_params['org']}/{request.path_params['name']}"
        if (refused := self._refused(request, repository)) is not None:
            return refused
        if request.path_params.get("commit", COMMIT) != COMMIT:
            return Response(status_code=404, headers={"X-Error-Code": "RevisionNotFound"})
        siblings = [
            {
                "rfilename": name,
                "size": len(content),
                "blobId": "0" * 40,
                "lfs": {"sha256": sha(content), "size": len(content), "pointerSize": 130}
                if self.lfs
                else None,
            }
            for name, content in self.repositories[repository].items()
        ]
        return JSONResponse({"id": repository, "sha": COMMIT, "siblings": siblings})

    async def resolve(self, request: Request) -> Response:
        repository = f"{request.path_params['org']}/{request.path_params['name']}"
        if (refused := self._refused(request, repository)) is not None:
            return refused
        content = self.repositories[repository][request.path_params["path"]]
        self._see(request)
        # Another host, as the hub's contents are: it must not be shown the token.
        place = f"{self.url.replace('127.0.0.1', 'localhost')}/contents/{sha(content)}"
        return RedirectResponse(
            place,
            302,
            {
                "X-Repo-Commit": COMMIT,
                "X-Linked-Etag": f'"{sha(content)}"',
                "X-Linked-Size": str(len(content)),
            },
        )

    async def contents(self, request: Request) -> Response:
        wanted = request.path_params["sha"]
        every = [one for files in self.repositories.values() for one in files.values()]
        return self._send(request, next(one for one in every if sha(one) == wanted), {})

    async def file(self, request: Request) -> Response:
        content = self.files.get(request.path_params["name"])
        if content is None:
            return Response(status_code=404)
        return self._send(request, content, {"ETag": f'"{sha(content)}"', **self.headers})

    def _see(self, request: Request) -> None:
        headers = request.headers
        self.seen.append(Seen(request.url.path, headers.get("range"), headers.get("authorization")))

    def _send(self, request: Request, content: bytes, headers: dict[str, str]) -> Response:
        self._see(request)
        begin, status = 0, 200
        asked = request.headers.get("range")
        same = request.headers.get("if-range") in (None, headers.get("ETag"))
        if asked is not None and same:
            begin, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            headers = headers | {
                "Content-Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"
            }
        if self.lengths:
            headers = headers | {"Content-Length": str(len(content) - begin)}
        body = content[begin:]
        if self.alter:
            body = body[:-1] + bytes([body[-1] ^ 1])
        return StreamingResponse(self._stream(body + bytes(self.surplus)), status, headers)

    async def _stream(self, body: bytes) -> AsyncIterator[bytes]:
        end = self.cuts.pop(0) if self.cuts else len(body)
        for at in range(0, min(end, len(body)), CHUNK):
            if self.hold_after is not None and at >= self.hold_after:
                self.held.set()
                try:
                    await asyncio.sleep(3600)
                finally:
                    self.left.set()
            yield body[at : min(end, at + CHUNK)]


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def serving(hub: Hub) -> Iterator[Hub]:
    """Serve ``hub`` on a port of this machine, in a thread."""
    routes = [
        Route("/api/models/{org}/{name}", hub.model),
        Route("/api/models/{org}/{name}/revision/{commit}", hub.model),
        Route("/{org}/{name}/resolve/{revision}/{path:path}", hub.resolve),
        Route("/contents/{sha}", hub.contents),
        Route("/files/{name}", hub.file),
    ]
    sock = socket.create_server(("127.0.0.1", 0))
    hub.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    # What is cut off on purpose would be logged as an error.
    config = uvicorn.Config(
        Starlette(routes=routes), log_config=None, lifespan="off", timeout_graceful_shutdown=0
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    eventually(lambda: server.started, "the hub serves")
    try:
        yield hub
    finally:
        server.should_exit = True
        thread.join(30)
        sock.close()
