"""Ranking on real processes: workers that are killed, clients that leave, the order among all."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Start
from tests.support.killing import healthy, stopped
from tests.support.rankers import OPTIONS, cross_encoder
from tests.support.server import DEADLINE_S, ForgeServer, eventually, gone
from tests.support.shared_servers import SharedServers
from tests.support.traffic import Hanging, jobs_waiting

URL = "/v1/rerank"
SLOTS = 2
MANY = [f"{at} " + "word " * (at % 9) for at in range(60)]
ROUNDED = 1e-3
"""As near as steps of other sizes compute; scores are 1 to 4, and differ by more."""
FLOOD = ["d" * 40] * 2048


class Asking:
    """A request in a thread."""

    def __init__(self, server: ForgeServer, documents: list[str], **params: Any) -> None:
        self.response: httpx.Response | None = None
        body = {"query": "q" * 10, "documents": documents, "normalize": False, **params}
        self._thread = threading.Thread(target=self._run, args=(server.url + URL, body))
        self._thread.start()

    def _run(self, url: str, body: dict[str, Any]) -> None:
        self.response = httpx.post(url, json=body, timeout=DEADLINE_S)

    def scores(self) -> dict[int, float]:
        self._thread.join(DEADLINE_S)
        assert self.response is not None
        assert self.response.status_code == 200, self.response.text
        results = self.response.json()["results"]
        return {item["index"]: item["relevance_score"] for item in results}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cross_encoder(tmp_path_factory.mktemp("ranking") / "ranks.gguf")


@pytest.fixture(scope="module")
def small(shared_servers: SharedServers, path: Path) -> ForgeServer:
    """One worker with two slots."""
    return shared_servers("--workers", "1", "--slots", str(SLOTS), *OPTIONS, model=path)


def test_the_more_urgent_first(small: ForgeServer) -> None:
    """In the middle of a flood; and nothing is computed for a client that left."""
    flood = Hanging(small, URL, {"query": "q", "documents": FLOOD, "priority": "batch"})
    eventually(lambda: len(small.waiting()) > 50, "the flood is there")
    assert len(Asking(small, MANY, priority="urgent").scores()) == len(MANY)
    assert jobs_waiting(small), "the flood is still there"
    flood.hang_up()
    eventually(lambda: small.busy() == 0 and not small.waiting(), "it is gone")
    assert [worker["cells_used"] for worker in small.workers()] == [0]


def test_a_killed_worker(start_server: Start, path: Path) -> None:
    """In the middle of a request: its pairs are computed again, and all scores are the same."""
    server = start_server("--workers", "2", "--slots", str(SLOTS), *OPTIONS, model=path)
    expected = Asking(server, MANY).scores()
    victim, other = server.pids()
    with stopped(victim, other):
        asking = Asking(server, MANY)
        eventually(lambda: server.busy() == 2 * SLOTS, "both workers have pairs")
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: gone(victim), "one worker ends")
    found = asking.scores()
    assert found.keys() == expected.keys()
    assert max(abs(found[at] - expected[at]) for at in expected) < ROUNDED
    healthy(server, 1)
