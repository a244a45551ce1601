"""The whole gateway in this process, for clients that block: no socket, no worker."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import httpx

from gateway.app import Gateway
from gateway.config.config import Config
from tests.support.memory_pool import MemoryPool
from tests.support.server import ALIAS, DEADLINE_S


class Blocking(httpx.BaseTransport):
    """Hands requests to an ASGI application in the event loop of another thread."""

    def __init__(self, transport: httpx.ASGITransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the whole answer. Raises TimeoutError if none comes."""
        return asyncio.run_coroutine_threadsafe(self._ask(request), self._loop).result(DEADLINE_S)

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=content)


@contextlib.contextmanager
def blocking_front() -> Iterator[httpx.Client]:
    """A client of a gateway whose pool never computes: whatever gets through to it is an error."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    pool = MemoryPool(1)
    gateway = Gateway(Config(alias=ALIAS), pool=pool)
    try:
        asyncio.run_coroutine_threadsafe(gateway.start(), loop).result(DEADLINE_S)
        # The real server answers a bug and goes on; here it would also raise in the test.
        transport = httpx.ASGITransport(gateway.app(), raise_app_exceptions=False)
        with httpx.Client(transport=Blocking(transport, loop), base_url="http://forge") as client:
            yield client
        assert pool.submitted == []
        asyncio.run_coroutine_threadsafe(gateway.stop(), loop).result(DEADLINE_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
