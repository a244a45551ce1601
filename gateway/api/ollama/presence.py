"""GET /: Ollama's words, by which clients find a server, or the live page where a browser asks."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from gateway.api.endpoint import Endpoint, Handler
from gateway.api.page_files import open_endpoint

RUNNING = "Ollama is running"


def root(page: Handler | None) -> Endpoint:
    """Return the endpoint at /, open to all; ``page`` answers browsers, if there is one."""

    async def at_root(request: Request) -> Response:
        browser = page is not None and "text/html" in request.headers.get("accept", "").lower()
        response: Response = PlainTextResponse(RUNNING)
        if page is not None and browser:
            response = await page(request)
        response.headers["Vary"] = "Accept"
        return response

    return open_endpoint("/", at_root, "text/plain")
