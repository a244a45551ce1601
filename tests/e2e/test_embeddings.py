"""Embeddings beside generations, on real processes: the same order for all, and nobody starves."""

import os
import signal
import threading
from typing import Any

import httpx
import pytest

from tests.conftest import Start
from tests.support.dialects import CHAT
from tests.support.killing import healthy, stopped
from tests.support.server import DEADLINE_S, ForgeServer, eventually, gone
from tests.support.shared_servers import SharedServers
from tests.support.traffic import ENDLESS, HOLD_PRIORITY, Hanging, Streaming, jobs_waiting, occupied

URL = "/v1/embeddings"
SLOTS = 2
MANY = [[5 + index] * 60 for index in range(24)]
FLOOD = MANY * 80
"""Keeps all slots busy for longer than a test takes."""
LONG = {**ENDLESS, "max_tokens": 8000}
"""A stream that is still running when a flood has come."""


class Asking:
    """A request for embeddings in a thread."""

    def __init__(self, server: ForgeServer, given: Any, **params: Any) -> None:
        self.response: httpx.Response | None = None
        self._url, self._body = server.url + URL, {"input": given, **params}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.response = httpx.post(self._url, json=self._body, timeout=DEADLINE_S)

    def vectors(self) -> list[list[float]]:
        self._thread.join(DEADLINE_S)
        assert self.response is not None
        assert self.response.status_code == 200, self.response.text
        return [item["embedding"] for item in self.response.json()["data"]]


@pytest.fixture(scope="module")
def small(shared_servers: SharedServers) -> ForgeServer:
    """One worker with two slots."""
    return shared_servers("--workers", "1", "--slots", str(SLOTS), "--quantum", "0.1")


def test_beside_a_stream(small: ForgeServer) -> None:
    """One slot is free: they are answered there, while the stream goes on beside them."""
    stream = Streaming(small, "Tell me a story.", **LONG).wait_for(5)
    assert len(Asking(small, MANY[:4]).vectors()) == 4
    assert not stream.done, "shorter than the stream"
    assert stream.finish()


def test_a_flood_of_generations(small: ForgeServer) -> None:
    """All slots are taken and twenty wait for them; the more urgent inputs go first."""
    with occupied(small, SLOTS):
        assert len(Asking(small, MANY[:3], priority=2 * HOLD_PRIORITY).vectors()) == 3
        assert small.waiting(), "the flood is still there"


def test_a_flood_of_embeddings(small: ForgeServer) -> None:
    """Running work goes on, and a request more urgent than the flood gets a slot amid it."""
    stream = Streaming(small, "Tell me a story.", **LONG).wait_for(1)
    flood = Hanging(small, URL, {"input": FLOOD, "priority": "batch"})
    eventually(lambda: len(small.waiting()) > 50, "the flood is there")
    stream.wait_for(len(stream.text) + 60)
    with small.client() as http:
        CHAT.ask(http, "hello", max_tokens=20, ignore_eos=True)
        CHAT.ask(http, "hello", max_tokens=20, ignore_eos=True)
    assert small.waiting(), "the flood is still there"
    flood.hang_up()
    assert stream.finish()
    eventually(lambda: not small.waiting(), "the flood is gone")


def test_those_who_yield_are_not_lost(small: ForgeServer) -> None:
    """Inputs of batch priority are parked for urgent chats, and start again."""
    flood = Asking(small, [[5 + index] * 2000 for index in range(4)], priority="batch")
    eventually(lambda: small.busy() == SLOTS, "the flood is there")
    with small.client() as http:
        CHAT.ask(http, "hello", max_tokens=20, ignore_eos=True, priority="urgent")
    assert len(flood.vectors()) == 4


def test_the_order_among_them(small: ForgeServer) -> None:
    with occupied(small, SLOTS) as release:
        batch = Asking(small, "x", priority="batch")
        eventually(lambda: len(jobs_waiting(small)) == 1, "it waits")
        urgent = Asking(small, "x", priority="urgent")
        eventually(lambda: len(jobs_waiting(small)) == 2, "both wait")
        assert [place["priority"] for place in jobs_waiting(small)] == [2, 0]
        release()
        assert batch.vectors() == urgent.vectors()


def test_hanging_up(small: ForgeServer) -> None:
    """Nothing is computed for nobody."""
    asking = Hanging(small, URL, {"input": FLOOD})
    eventually(lambda: small.busy() == SLOTS, "it is being served")
    asking.hang_up()
    eventually(lambda: small.busy() == 0 and not small.waiting(), "it is gone")
    assert [worker["cells_used"] for worker in small.workers()] == [0]


def test_a_killed_worker(start_server: Start) -> None:
    """In the middle of embeddings: the answer comes all the same, and is the same."""
    server = start_server("--workers", "2", "--slots", "2")
    expected = Asking(server, MANY).vectors()
    victim, other = server.pids()
    with stopped(victim, other):
        asking = Asking(server, MANY)
        eventually(lambda: server.busy() == 4, "both workers have inputs")
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: gone(victim), "one worker ends")
    for vector, known in zip(asking.vectors(), expected, strict=True):
        assert max(abs(a - b) for a, b in zip(vector, known, strict=True)) < 0.01
    healthy(server, 1)
