"""Downloads that requests have asked for: each in a process of its own, shared by its followers.

Requests for the same source follow one download. It is ended when the last of them has gone; what
has come is kept, and the next one goes on from there.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from gateway.core.errors import SHUTTING_DOWN, PullFailed, QueueFull, Unavailable
from gateway.model_files.fetch_process import FetchLine, bring

MOST = 4
"""Downloads at the same time."""


@dataclass(frozen=True, slots=True)
class PulledFile:
    """One file of a download, as far as it is here."""

    name: str
    done: int
    total: int | None
    sha256: str | None


class Pulls:
    """All downloads of a server."""

    def __init__(self) -> None:
        self._running: dict[str, _Pull] = {}
        self._closed = False

    async def follow(self, source: str, silence_s: float) -> AsyncGenerator[PulledFile | None]:
        """Yield files as more of them comes, until all are here; None after each silence.

        Raises PullFailed with the reason; QueueFull or Unavailable before anything was begun.
        """
        pull = self._running.get(source)
        if pull is None or pull.leaving:
            pull = self._begin(source)
        async with pull.followed():
            seen = dict[str, PulledFile]()
            while True:
                news = pull.news
                for file in list(pull.files.values()):
                    if seen.get(file.name) != file:
                        seen[file.name] = file
                        yield file
                if pull.ended:
                    break
                try:
                    async with asyncio.timeout(silence_s):
                        await news.wait()
                except TimeoutError:
                    yield None
        if pull.error is not None:
            raise PullFailed(pull.error)

    def close(self) -> None:
        """End all downloads: the server ends."""
        self._closed = True
        for pull in list(self._running.values()):
            pull.end()

    def _begin(self, source: str) -> "_Pull":
        if self._closed:
            raise Unavailable(SHUTTING_DOWN, retry_after=5)
        if len(self._running) >= MOST:
            raise QueueFull(f"{MOST} models are being downloaded already", retry_after=60)
        pull = self._running[source] = _Pull(source)
        pull.task.add_done_callback(lambda _: self._forget(source, pull))
        return pull

    def _forget(self, source: str, pull: "_Pull") -> None:
        if self._running.get(source) is pull:
            del self._running[source]


class _Pull:
    """One download."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._followers = 0
        self.files: dict[str, PulledFile] = {}
        self.error: str | None = None
        self.leaving = False
        """True: it is being ended, and a new follower needs another one."""
        self.ended = False
        self.news = asyncio.Event()
        """Set when there is some, and replaced by a new one."""
        self.task = asyncio.create_task(self._run())

    @contextlib.asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Keep the download going inside the context."""
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1
            if not self._followers:
                self.end()

    def end(self) -> None:
        """End the process, if it runs; what has come is kept."""
        self.leaving = True
        self.task.cancel()

    def _tell(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    async def _run(self) -> None:
        self.error = "the download was ended"
        try:
            self.error = await self._download()
        except OSError as error:
            self.error = f"no process for the download: {error.strerror}"
        except ValueError as error:  # what it says is no line of ours
            self.error = f"the download failed: {error}"
        finally:
            self.ended = True
            self._tell()

    async def _download(self) -> str | None:
        """Bring it; return the error. Raises OSError or ValueError."""
        return (await bring(self._source, self._hear)).error or None

    def _hear(self, line: FetchLine) -> None:
        if line.name:
            file = PulledFile(line.name, line.done, line.total, line.sha256)
            self.files[line.name] = file
            self._tell()
