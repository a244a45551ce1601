"""The requests of a batch against a server: so many at once, again where that may help."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx2
import orjson

from gateway.cli.batch.requests import LineRequest
from gateway.cli.batch.result_file import ResultFile, result
from gateway.cli.chat.client import RequestFailed

BUSY = (429, 503)
"""Statuses of a server that can't serve now: asked again until it can."""
BUSY_S = 3600.0
"""Seconds after which a line is given up to which a server always had another answer."""
BROKEN = (500, 502, 504)
"""Statuses of a failure that may not come again."""
MOST_TRIES = 3
"""Attempts at a line that fails so, or whose connection breaks after it was sent."""
GONE_S = 60.0
"""Seconds for which a server that does not answer is waited for."""
LEAST_S, MOST_S = 1.0, 60.0
"""Bounds of the pause before another attempt."""
OK, REFUSED = 200, 401
MOST_TEXT = 2000
"""Characters of an answer that is not JSON, which an error repeats."""


@dataclass(slots=True)
class RunCounts:
    """Lines of this run."""

    done: int = 0
    failed: int = 0


@dataclass(slots=True)
class _Attempts:
    """The attempts at a line so far."""

    tries: int = 0
    pause: float = LEAST_S
    busy_since: float | None = None

    def pause_for(self, asked: str | None) -> float:
        """Return how long to wait now. ``asked``: what the server said."""
        try:
            wanted = self.pause if asked is None else float(asked)
        except ValueError:  # a date
            wanted = self.pause
        self.pause = min(self.pause * 2, MOST_S)
        return max(LEAST_S, min(wanted, MOST_S))  # in this order also for NaN


class RequestRunner:
    """One run of a batch."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        results: ResultFile,
        errors: ResultFile,
        priority: str,
        tell: Callable[[RunCounts], None],
    ) -> None:
        """``tell`` is told the counts after each line."""
        self.counts = RunCounts()
        self._client = client
        self._results = results
        self._errors = errors
        self._headers = {"Content-Type": "application/json", "X-Priority": priority}
        self._tell = tell
        self._gone_since: float | None = None
        """The first of the failures to connect since the last answer."""

    async def run(self, requests: Iterator[LineRequest], at_once: int) -> None:
        """Run all. Raises RequestFailed if the server is gone, or takes no more with this key."""

        async def run_some() -> None:
            for request in requests:
                await self._run(request)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(run_some())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _run(self, request: LineRequest) -> None:
        attempts = _Attempts()
        while True:
            try:
                response = await self._client.post(
                    request.url, content=request.body, headers=self._headers
                )
            except httpx2.HTTPError as error:
                if not await self._again(attempts, error):
                    text = "the connection broke each time that this line was sent"
                    self._fail(request, error={"code": "connection", "message": text})
                    return
                continue
            self._gone_since = None
            if response.status_code == REFUSED:
                raise RequestFailed("the server wants another key (--api-key, or FORGE_API_KEY)")
            if response.status_code in BUSY and _quota(response):
                text = "what this key may use is used up; the same command goes on from here"
                raise RequestFailed(text)
            if await self._later(attempts, response):
                continue
            self._end(request, response)
            return

    async def _again(self, attempts: _Attempts, error: httpx2.HTTPError) -> bool:
        """Wait for a server that does not answer, and return whether to ask again.

        Raises RequestFailed if it has been gone for too long.
        """
        sent = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
        attempts.tries += sent
        if attempts.tries >= MOST_TRIES:
            return False
        now = time.monotonic()
        if not sent and self._gone_since is None:
            self._gone_since = now
        if self._gone_since is not None and now - self._gone_since > GONE_S:
            raise RequestFailed(f"{self._client.base_url} does not answer: {error or 'no reason'}")
        await asyncio.sleep(attempts.pause_for(None))
        return True

    async def _later(self, attempts: _Attempts, response: httpx2.Response) -> bool:
        """Wait where another attempt may help, and return whether it may."""
        now = time.monotonic()
        if response.status_code in BUSY:
            attempts.busy_since = now if attempts.busy_since is None else attempts.busy_since
            if now - attempts.busy_since > BUSY_S:
                return False
        elif response.status_code in BROKEN:
            attempts.tries += 1
            if attempts.tries >= MOST_TRIES:
                return False
        else:
            return False
        await asyncio.sleep(attempts.pause_for(response.headers.get("retry-after")))
        return True

    def _end(self, request: LineRequest, response: httpx2.Response) -> None:
        status, name = response.status_code, response.headers.get("x-request-id", "")
        try:
            orjson.loads(response.content)
        except orjson.JSONDecodeError:
            message = f"the answer is not JSON: {response.text[:MOST_TEXT]}"
            self._fail(request, error={"code": "not_json", "message": message})
            return
        if status != OK:
            self._fail(request, status, name, response.content)
            return
        self._results.add(result(request.custom_id, status, name, response.content))
        self.counts.done += 1
        self._tell(self.counts)

    def _fail(
        self,
        request: LineRequest,
        status: int | None = None,
        name: str = "",
        body: bytes = b"null",
        error: dict[str, str] | None = None,
    ) -> None:
        self._errors.add(result(request.custom_id, status, name, body, error))
        self.counts.failed += 1
        self._tell(self.counts)


def _quota(response: httpx2.Response) -> bool:
    """Return whether OpenAI's API says that there is no money left, which waiting does not help."""
    return b"insufficient_quota" in response.content[:MOST_TEXT]
