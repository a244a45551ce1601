"""The whole gateway in this process, for clients that block: no socket, no worker."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import httpx

from gateway.app import Gateway
from gateway.config.api_keys import Keyring
from gateway.config.config import Config
from gateway.media.fetching import FetchTerms
from tests.support.answering_pool import AnsweringPool
from tests.support.server import ALIAS, DEADLINE_S


class Chunked(httpx.AsyncByteStream):
    """A body that comes in chunks, for a transport that takes only asynchronous ones."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


class Blocking(httpx.BaseTransport):
    """Hands requests to an ASGI application in the event loop of another thread."""

    def __init__(self, transport: httpx.ASGITransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the whole answer. Raises TimeoutError if none comes."""
        return asyncio.run_coroutine_threadsafe(self._ask(request), self._loop).result(DEADLINE_S)

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        if not isinstance(request.stream, httpx.AsyncByteStream):
            request.stream = Chunked(request.stream)
        response = await self._transport.handle_async_request(request)
        content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=content)


@contextlib.contextmanager
def blocking_front(
    config: Config | None = None,
    keyring: Keyring | None = None,
    *,
    answers: bool = False,
    clock: Callable[[], float] = time.time,
    pool: AnsweringPool | None = None,
    fetch_terms: FetchTerms | None = None,
) -> Iterator[httpx.Client]:
    """A client of a gateway whose pool computes nothing.

    ``answers``: whether requests may get through to the pool; otherwise one that does is an error.
    ``clock``: Unix seconds, by which files expire. ``pool`` is another one than the usual.
    ``fetch_terms``: what holds for addresses of pictures.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    pool = pool or AnsweringPool(4)
    config = config or Config(alias=ALIAS)
    gateway = Gateway(config, keyring, pool, clock=clock, fetch_terms=fetch_terms)
    try:
        asyncio.run_coroutine_threadsafe(gateway.start(), loop).result(DEADLINE_S)
        # The real server answers a bug and goes on; here it would also raise in the test.
        transport = httpx.ASGITransport(gateway.app(), raise_app_exceptions=False)
        with httpx.Client(transport=Blocking(transport, loop), base_url="http://forge") as client:
            yield client
        asyncio.run_coroutine_threadsafe(gateway.stop(), loop).result(DEADLINE_S)
        assert answers or pool.submitted == []
        assert pool.leaks() == []
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
