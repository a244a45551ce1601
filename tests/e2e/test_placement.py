"""A chat goes on where its history is, on two real workers."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.pool.placement import REASONS
from tests.support.dialects import CHAT
from tests.support.server import ForgeServer, eventually
from tests.support.shared_servers import SharedServers
from tests.support.traffic import Hanging

TOKENS = 4


@pytest.fixture(scope="module")
def pair(shared_servers: SharedServers) -> ForgeServer:
    """Two workers of which one may be killed."""
    return shared_servers("--workers", "2", "--slots", "4")


class Conversation:
    """A chat of several turns."""

    def __init__(self, server: ForgeServer, system: str, **headers: str) -> None:
        self.messages = [{"role": "system", "content": system}]
        self._server, self._headers = server, headers

        self.prompt_tokens = self.cached_tokens = 0

    def ask(self, **params: Any) -> None:
        """One more turn."""
        self.messages.append({"role": "user", "content": "Go on, please."})
        body = {"messages": self.messages, "max_tokens": TOKENS, "ignore_eos": True, **params}
        with self._server.client(**self._headers) as client:
            answer = client.post(CHAT.path, json=body).json()
        self.messages.append(answer["choices"][0]["message"])
        usage = answer["usage"]
        self.prompt_tokens = usage["prompt_tokens"]
        self.cached_tokens = usage["prompt_tokens_details"]["cached_tokens"]

    def turn(self, **params: Any) -> tuple[int, str]:
        """One more: the worker that had it, when nothing else came, and why it did."""
        reasons, before = placements(self._server), prefilled(self._server)
        self.ask(**params)
        computed = self.prompt_tokens - self.cached_tokens
        (worker,) = (at for at, n in enumerate(prefilled(self._server)) if n > before[at])
        assert prefilled(self._server)[worker] - before[worker] == computed
        (reason,) = (r for r, n in placements(self._server).items() if n > reasons[r])
        return worker, reason


def prefilled(server: ForgeServer) -> list[int]:
    return [worker["prefill_tokens"] for worker in server.workers()]


def decoded(server: ForgeServer) -> list[int]:
    return [worker["decode_tokens"] for worker in server.workers()]


def placements(server: ForgeServer) -> dict[str, float]:
    """Return how often each reason counted so far."""
    with server.client(Accept="text/plain") as client:
        families = {f.name: f for f in text_string_to_metric_families(client.get("/metrics").text)}
    return {s.labels["reason"]: s.value for s in families["forge_placements"].samples}


@contextmanager
def busy(server: ForgeServer, worker: int) -> Iterator[None]:
    """One of the idle workers has a long generation."""
    body = CHAT.body(f"{worker}", stream=True, ignore_eos=True, max_tokens=3000)
    requests, before = [], decoded(server)[worker]
    for _ in range(worker + 1):
        requests.append(Hanging(server, CHAT.path, body))
        eventually(lambda: server.busy() == len(requests), "it runs")
    for first in requests[:-1]:
        first.hang_up()
    here = [int(at == worker) for at in (0, 1)]
    eventually(lambda: [w["busy"] for w in server.workers()] == here, "it alone")
    eventually(lambda: decoded(server)[worker] > before, "its prompt is computed")
    try:
        yield
    finally:
        requests[-1].hang_up()
        eventually(lambda: server.busy() == 0, "idle")


def begun(server: ForgeServer, system: str, **headers: str) -> Conversation:
    """A conversation whose first turn was on the second worker."""
    chat = Conversation(server, system, **headers)
    before = decoded(server)[1]
    with busy(server, 0):
        chat.ask()
    assert decoded(server)[1] == before + TOKENS
    return chat


LONG, SHORT = "Wolves live in packs. " * 100, "Owls live alone. " * 5


def test_a_chat_finds_its_history(pair: ForgeServer) -> None:
    """On the second worker, although the first has as many free slots and would come first."""
    chat = begun(pair, "first " + LONG)
    for _ in range(2):
        before = chat.prompt_tokens
        assert chat.turn() == (1, "prefix")
        assert before <= chat.cached_tokens < chat.prompt_tokens, "with what was answered"


def test_nobody_looks_for_what_may_not_be_used(pair: ForgeServer) -> None:
    chat = begun(pair, "second " + LONG)
    assert chat.turn(cache_prompt=False) == (0, "load")
    assert chat.cached_tokens == 0


def test_a_busier_worker_must_spare_more(pair: ForgeServer) -> None:
    """One generation more is worth as much as some of the prompt."""
    short, long = begun(pair, SHORT), begun(pair, "third " + LONG)
    with busy(pair, 1):
        assert short.turn(max_tokens=200) == (0, "spill")
        assert long.turn(max_tokens=200) == (1, "prefix")
        assert long.cached_tokens > 400


UNSEEN: dict[str, Any] = {"chat_template_kwargs": {"of_no_template": True}}
"""Makes other bytes of a prompt for the gateway, from the first one on, and the same tokens."""


def test_a_session_finds_its_history_where_bytes_do_not(pair: ForgeServer) -> None:
    """The gateway sees another prompt; the worker has most of its tokens."""
    chat = begun(pair, "sixth " + LONG, session_id="0199")
    before = chat.prompt_tokens
    assert chat.turn(**UNSEEN) == (1, "session")
    assert before <= chat.cached_tokens < chat.prompt_tokens


def test_without_its_name_it_is_new(pair: ForgeServer) -> None:
    chat = begun(pair, "seventh " + LONG)
    assert chat.turn(**UNSEEN) == (0, "load")
    assert chat.cached_tokens < 50, "the template's own first tokens at most"


def test_a_session_does_not_wait_for_its_worker(pair: ForgeServer) -> None:
    chat = begun(pair, "eighth " + LONG, session_id="0200")
    with busy(pair, 1):
        assert chat.turn(**UNSEEN) == (0, "load")
    # And the known prefix counts for more than the session, which is at the first worker now.
    assert chat.turn() == (1, "prefix")


def test_what_a_dead_worker_had_is_forgotten(pair: ForgeServer) -> None:
    chat = begun(pair, "fourth " + LONG)
    _, victim = pair.workers()
    os.kill(victim["pid"], signal.SIGKILL)
    eventually(lambda: pair.workers()[1]["restarts"] == victim["restarts"] + 1, "it died")
    pair.wait_ready()
    assert chat.turn() == (0, "load")
    assert chat.turn() == (0, "prefix")
    assert set(placements(pair)) == set(REASONS)
