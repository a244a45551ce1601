"""POST /api/pull as Ollama tells of it: lines of progress, or one answer at the end."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.api.endpoint import NDJSON
from gateway.api.ollama.errors import error_line
from gateway.api.ollama.models.types import OllamaProgress
from gateway.api.reply import unless_hung_up
from gateway.core.errors import ForgeError
from gateway.model_files.pulls import PulledFile, Pulls

SUCCESS: OllamaProgress = {"status": "success"}
NOT_SERVED: OllamaProgress = {
    "status": "this server was started without --catalog: it does not serve what is pulled"
}


async def progress(
    pulls: Pulls, source: str | None, silence_s: float, *, served: bool
) -> AsyncGenerator[OllamaProgress]:
    """Yield what is told of a download; ``source`` None: the model is here.

    ``served``: whether the server will serve it. Raises a ForgeError.
    """
    last: OllamaProgress = {"status": "pulling manifest"}
    yield last
    begun = set[str]()
    if source is not None:
        async with aclosing(pulls.follow(source, silence_s)) as files:
            async for file in files:
                if file is not None:
                    last = _line(file, first=file.name not in begun)
                    begun.add(file.name)
                yield last
        yield {"status": "verifying sha256 digest"}
    yield {"status": "writing manifest"}
    if not served:
        yield NOT_SERVED
    yield SUCCESS


def _line(file: PulledFile, *, first: bool) -> OllamaProgress:
    name = file.name if file.sha256 is None else file.sha256[:12]
    line: OllamaProgress = {"status": f"pulling {name}"}
    if file.sha256 is not None:
        line["digest"] = f"sha256:{file.sha256}"
    if file.total is not None:
        line["total"] = file.total
    if file.done or not first:
        line["completed"] = file.done
    return line


class ProgressLines(Response):
    """Streams progress as lines of JSON. A client that hangs up leaves the download."""

    media_type = NDJSON

    def __init__(
        self, lines: AsyncGenerator[OllamaProgress], count: Callable[[ForgeError], None]
    ) -> None:
        """``count`` is told of an error that ends the stream."""
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._lines = lines
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_hung_up(receive, self._send(send))
        except ClientDisconnect:
            return

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with aclosing(self._encoded()) as lines:
            async for line in lines:
                await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _encoded(self) -> AsyncGenerator[bytes]:
        try:
            async with aclosing(self._lines) as lines:
                async for line in lines:
                    yield orjson.dumps(line) + b"\n"
        except ForgeError as error:
            self._count(error)
            yield error_line(error)
