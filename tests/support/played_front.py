"""The whole gateway in this process, on a pool that the test plays: what a socket can't show."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from gateway.app import Gateway
from gateway.config.api_keys import Keyring, digest
from gateway.config.config import Config
from gateway.core.api_key import ApiKey
from gateway.dispatch.job import Job
from tests.support.dialects import Dialect
from tests.support.memory_pool import MemoryPool

TURNS = 1000
"""Turns of the loop; the second half is slower, for what a thread does."""
KEYS = [
    ApiKey("app", digest("sk-app"), weight=3.0, requests_per_minute=2, tokens_per_minute=1000),
    ApiKey("batch", digest("sk-batch"), max_priority=0.0),
]
"""The first is that of the front's own client."""


class Front:
    """A gateway, its pool of one slot, and a client with a key."""

    def __init__(self, keys: Sequence[ApiKey] = KEYS, **options: Any) -> None:
        self.pool = MemoryPool(1)
        self.gateway = Gateway(Config(**options), Keyring(keys), self.pool)
        self._app = self.gateway.app()
        # The real server answers a bug and goes on; here it would also raise in the test.
        transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
        headers = {"Authorization": "Bearer sk-app"}
        self.client = httpx.AsyncClient(
            transport=transport, base_url="http://forge", headers=headers
        )

    async def ask(
        self, dialect: Dialect, headers: dict[str, str] | None = None, **params: Any
    ) -> tuple[Job, httpx.Response]:
        """The job that a request became, and the answer after seven and two tokens."""
        post = self.client.post(dialect.path, json=dialect.body(**params), headers=headers)
        asking = asyncio.create_task(post)
        id_ = await self.running()
        job = self.gateway.dispatcher._running[id_].job
        self.pool.begin(id_)
        self.pool.progress(id_)
        self.pool.finish(id_)
        return job, await asking

    async def running(self) -> int:
        """The only generation that a worker has, as soon as it has one."""
        await until(lambda: bool(self.pool.running()))
        (id_,) = self.pool.running()
        return id_

    def connect(self, path: str, body: Mapping[str, Any]) -> "Connection":
        """A request whose client can hang up."""
        return Connection(self._app, path, json.dumps(body).encode())

    async def scraped(self) -> dict[tuple[str, str, str], float]:
        """Values of the metrics by name, class and outcome or code."""
        answer = await self.client.get("/metrics", headers={"Accept": "text/plain"})
        found = {}
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                kind, ending = (sample.labels.get(label, "") for label in ("class", "outcome"))
                found[sample.name, kind, ending or sample.labels.get("code", "")] = sample.value
        return found


class Connection:
    """A request as the server hands it to the application, until its client hangs up."""

    def __init__(self, app: Callable[..., Awaitable[None]], path: str, body: bytes) -> None:
        self.sent: list[dict[str, Any]] = []
        """The messages of the response so far."""
        self._body, self._gone = body, asyncio.Event()
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
            "root_path": "", "headers": [(b"authorization", b"Bearer sk-app")], "state": {},
            "client": ("127.0.0.1", 1), "server": ("forge", 80),
        }  # fmt: skip
        self._serving = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def hang_up(self) -> None:
        """Leave. Returns when the application is through."""
        self._gone.set()
        await self._serving

    async def _receive(self) -> dict[str, Any]:
        if self._body:
            body, self._body = self._body, b""
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)


async def until(check: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; a handful of turns is enough, but for threads."""
    for turn in range(TURNS):
        if check():
            return
        await asyncio.sleep(0 if turn < TURNS // 2 else 0.01)
    raise AssertionError("it never happened")
