"""Requests that kill their workers, and workers that do not come back."""

import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import Start
from tests.e2e.test_same_text import alone
from tests.support.dialects import CHAT, INFER
from tests.support.server import DEADLINE_S, MODEL, ForgeServer, eventually
from tests.support.traffic import ENDLESS, Streaming

LONG_PROMPT = "again and again " * 380
"""About 1,900 tokens: with a small --batch its prefill takes 15 steps."""


class Asking:
    """An /infer request whose answer comes in a thread."""

    def __init__(self, server: ForgeServer, query: str, **params: Any) -> None:
        self.response: httpx.Response | None = None
        self._thread = threading.Thread(target=self._run, args=(server, query, params), daemon=True)
        self._thread.start()

    def _run(self, server: ForgeServer, query: str, params: dict[str, Any]) -> None:
        body = INFER.body(query, **params)
        self.response = httpx.post(server.url + INFER.path, json=body, timeout=DEADLINE_S)

    def answer(self) -> httpx.Response:
        self._thread.join(DEADLINE_S)
        assert self.response is not None
        return self.response


def kill_in_prefill(
    server: ForgeServer, neighbour: Streaming, poison: Asking, *, alone: bool
) -> bool:
    """Kill the worker while it computes the prompt of ``poison``; False once that is answered.

    ``alone``: it may have the worker to itself. Otherwise the neighbour, which runs beside it,
    gives a token first: nobody may suspect that one.
    """
    seen = len(neighbour.pieces)

    def computed() -> bool:
        busy = server.busy()
        return (busy == 2 and len(neighbour.pieces) > seen) or (alone and busy == 1)

    eventually(lambda: poison.response is not None or computed())
    if poison.response is not None:
        return False
    (pid,) = server.pids()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: pid not in server.pids(), "the gateway knows")
    return True


def test_only_the_killer_fails(start_server: Start, exact: tuple[Path, tuple[str, ...]]) -> None:
    """The test plays the bug: whenever the long prompt is computed, the worker dies."""
    model, options = exact
    shape = ("--workers", "1", "--slots", "2", "--batch", "128")
    server = start_server(*shape, *options, model=model)
    params = {"temperature": 0, "ignore_eos": True, "max_tokens": 600}
    expected = alone(server, "tell me a story about a fox", **params)
    neighbour = Streaming(server, "tell me a story about a fox", **params).wait_for(5)
    poison = Asking(server, LONG_PROMPT, max_tokens=5)
    deaths = 0
    while kill_in_prefill(server, neighbour, poison, alone=deaths >= 3):
        deaths += 1
    response = poison.answer()
    assert (response.status_code, response.json()["code"]) == (500, "worker_failed")
    assert deaths >= 4, "three together with others, one alone"
    assert neighbour.finish() == expected
    assert neighbour.done
    assert alone(server, "tell me a story about a fox", **params) == expected
    server.stop()


def test_workers_that_do_not_come_back(start_server: Start, tmp_path: Path) -> None:
    """After five failed starts everybody who waits is told; and it is tried on, until it works."""
    model = tmp_path / "model.gguf"
    shutil.copy(MODEL, model)
    server = start_server("--workers", "1", "--slots", "1", model=model)
    stream = Streaming(server, "count", **ENDLESS).wait_for(5)
    waiting = Asking(server, "hello", max_tokens=5)
    eventually(lambda: server.waiting())
    size = model.stat().st_size
    with model.open("ab") as file:  # a worker that starts would compute another model
        file.write(b"x")
    (pid,) = server.pids()
    os.kill(pid, signal.SIGKILL)
    response = waiting.answer()
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert "no worker can be started" in response.json()["error"]
    assert int(response.headers["retry-after"]) > 0
    for pause in ("0.00", "0.25", "0.50", "1.00", "2.00"):
        assert f"restarting in {pause} s" in server.stderr, "it backs off"
    stream.finish()
    assert stream.error is not None
    assert stream.error.code == "unavailable"
    for path, body in ((INFER.path, INFER.body()), (CHAT.path, CHAT.body())):
        assert httpx.post(server.url + path, json=body).status_code == 503, "at once"
    health = httpx.get(server.url + "/health")
    assert health.status_code == 503
    assert "no worker can be started" in health.text
    os.truncate(model, size)
    eventually(lambda: httpx.get(server.url + "/health").status_code == 200, "it recovers")
    with server.client() as client:
        assert INFER.ask(client, max_tokens=5).text
    server.stop()
