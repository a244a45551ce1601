"""Requests whose life a test controls: they occupy slots, wait in the queue, or hang up."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx

from tests.support.dialects import CHAT, INFER, Dialect, Failure
from tests.support.server import DEADLINE_S, ForgeServer, eventually
from tests.support.wire import reset

ENDLESS: dict[str, Any] = {"temperature": 0, "ignore_eos": True}
"""Runs to the end of the context: as long as a generation can be."""
HOLD_PRIORITY = 1000


class Hanging:
    """A request on a socket of its own that nobody need read, and that can be hung up."""

    def __init__(self, server: ForgeServer, path: str, body: dict[str, Any]) -> None:
        host, port = httpx.URL(server.url).host, httpx.URL(server.url).port
        assert port is not None
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(content)}\r\n\r\n"
        self.socket = socket.create_connection((host, port), DEADLINE_S)
        self.socket.sendall(head.encode() + content)

    def read_until(self, expected: bytes) -> bytes:
        """Return what came, up to and including the packet with ``expected``."""
        got = b""
        while expected not in got:
            data = self.socket.recv(4096)
            assert data, f"the server hung up after {got!r}"
            got += data
        return got

    def hang_up(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Hang up in a way that can't be taken for half a connection."""
        reset(self.socket)


@contextmanager
def occupied(server: ForgeServer, slots: int = 1) -> Iterator[Callable[[], None]]:
    """Hold all ``slots`` until the value is called (or the block ends).

    One generation may end before the test is through, so more of the highest priority wait
    behind it: whoever else waits stays in the queue.
    """
    body = INFER.body("count", priority=HOLD_PRIORITY, **ENDLESS)
    holders = [Hanging(server, INFER.path, body) for _ in range(slots + 20)]
    eventually(lambda: server.busy() == slots and len(server.waiting()) >= 20, "slots are held")

    def release() -> None:
        while holders:
            holders.pop().reset()

    try:
        yield release
    finally:
        release()
        eventually(lambda: server.busy() == 0 and not server.waiting(), "slots are free")


def jobs_waiting(server: ForgeServer) -> list[dict[str, Any]]:
    """Return what /queue lists, without those that only hold the slots."""
    return [place for place in server.waiting() if place["priority"] != HOLD_PRIORITY]


@dataclass(frozen=True)
class Served:
    """Time of a request's service, in seconds on the gateway's clock; from an arbitrary zero."""

    started: float
    ended: float


class Queued:
    """An /infer request that waits in the queue; its answer comes in a thread."""

    def __init__(self, server: ForgeServer, priority: float, **params: Any) -> None:
        """Returns when /queue lists it."""
        known = {place["id"] for place in server.waiting()}
        body = INFER.body("hello", priority=priority, ignore_eos=True, max_tokens=30, **params)
        self.response: httpx.Response | None = None

        def post() -> None:
            self.response = httpx.post(server.url + INFER.path, json=body, timeout=DEADLINE_S)

        self._thread = threading.Thread(target=post, daemon=True)
        self._thread.start()

        def arrived() -> str | None:
            fresh = {place["id"] for place in jobs_waiting(server)} - known
            return fresh.pop() if fresh else None

        found = eventually(arrived, "the request is queued")
        assert found is not None
        self.id = found

    def place(self, places: list[dict[str, Any]]) -> dict[str, Any]:
        """Its entry in an answer of /queue."""
        (place,) = (place for place in places if place["id"] == self.id)
        return place

    def served(self, places: list[dict[str, Any]]) -> Served:
        """Return its time of service, relative to that of ``places``, by the gateway's own clock.

        The order in which a client's threads wake up would prove nothing.
        """
        timings = self.answer()["timings"]
        arrival = -self.place(places)["waited_s"]
        return Served(arrival + timings["queue_ms"] / 1000, arrival + timings["total_ms"] / 1000)

    def answer(self) -> Any:
        self._thread.join(DEADLINE_S)
        assert self.response is not None
        assert self.response.status_code == 200, self.response.text
        return self.response.json()


class StreamOf:
    """A stream of any dialect that a thread reads; what came so far can be looked at."""

    def __init__(
        self,
        dialect: Dialect,
        server: ForgeServer,
        body: dict[str, Any],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.pieces: list[str] = []
        self.status = 0
        self.error: Failure | None = None
        self.done = False
        self.broken: httpx.HTTPError | None = None
        """The connection's failure, if there was one."""
        self._dialect, self._headers = dialect, headers
        self._thread = threading.Thread(target=self._run, args=(server.url, body), daemon=True)
        self._thread.start()

    def _run(self, url: str, body: dict[str, Any]) -> None:
        try:
            path = url + self._dialect.path
            with httpx.stream(
                "POST", path, json=body, timeout=DEADLINE_S, headers=self._headers
            ) as response:
                self.status = response.status_code
                for line in response.iter_lines():
                    self._take(line)
        except httpx.HTTPError as error:
            self.broken = error

    def _take(self, line: str) -> None:
        chunk = self._dialect.chunk(line)
        if chunk is None:
            return
        self.done = self._dialect.ended(chunk)
        self.error = self._dialect.error(chunk)
        if piece := self._dialect.piece(chunk):
            self.pieces.append(piece)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def wait_for(self, characters: int) -> Self:
        """Wait until it runs and has given so much; quick tokens share a piece."""
        eventually(lambda: len(self.text) >= characters, "the stream runs")
        return self

    def finish(self) -> str:
        """Read to the end; the text."""
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        return self.text


class Streaming(StreamOf):
    """A chat's."""

    def __init__(self, server: ForgeServer, prompt: str, **params: Any) -> None:
        super().__init__(CHAT, server, CHAT.body(prompt, stream=True, **params))
