"""Questions are answered whatever the generations do; and the worker that has them may die."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from gateway.pool.questions import OPEN
from tests.support.dialects import CHAT
from tests.support.server import DEADLINE_S, ForgeServer, eventually, freeze, gone
from tests.support.traffic import Hanging, Streaming, occupied

TALK = [{"role": "user", "content": "hi"}]
EXPECTED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "/tokenize": ({"content": "hello"}, {"tokens": [1116]}),
    "/detokenize": ({"tokens": [1116]}, {"content": "hello"}),
    "/apply-template": (
        {"messages": TALK},
        {"prompt": "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"},
    ),
}


class Asking:
    """A question whose answer comes in a thread."""

    def __init__(self, server: ForgeServer, path: str = "/tokenize") -> None:
        self._url, self._path = server.url + path, path
        self.response: httpx.Response | None = None
        self._thread = threading.Thread(target=self._post, daemon=True)
        self._thread.start()

    def _post(self) -> None:
        self.response = httpx.post(self._url, json=EXPECTED[self._path][0], timeout=DEADLINE_S)

    def answer(self) -> httpx.Response:
        self._thread.join(DEADLINE_S)
        assert self.response is not None, "no answer came"
        return self.response

    def right(self) -> None:
        response = self.answer()
        assert response.status_code == 200, response.text
        assert response.json() == EXPECTED[self._path][1]


def ask_all(server: ForgeServer) -> None:
    for path in EXPECTED:
        Asking(server, path).right()


def questions(server: ForgeServer) -> list[int]:
    """Return the number of questions that each worker has."""
    return [worker["questions"] for worker in server.workers()]


def children(pid: int) -> list[int]:
    done = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    return [child for child, parent in pairs if parent == pid]


@dataclass(frozen=True)
class Single:
    """A server with one worker of two slots, which may stand still for as long as a test needs."""

    server: ForgeServer
    renderer: int
    """The process that renders the prompts of generations."""


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Single]:
    shape = ("--workers", "1", "--slots", "2", "--threads", "1", "--stuck-timeout", "600")
    with ForgeServer(tmp_path_factory.mktemp("single"), *shape).serving() as server:
        (renderer,) = children(server.pids()[0])
        yield Single(server, renderer)
        eventually(lambda: server.busy() == 0 and questions(server) == [0], "nothing is left")


def test_prompts_that_wait_to_be_prepared(single: Single) -> None:
    """The renderer of the prompts stands still; a question's own one does not."""
    server = single.server
    freeze(single.renderer)
    try:
        streams = [Streaming(server, "hi", max_tokens=3, ignore_eos=True) for _ in range(2)]
        eventually(lambda: server.busy() == 2, "the worker has them")
        ask_all(server)
        (pid,) = server.pids()
        assert len(children(pid)) == 2
        ask_all(server)
        assert len(children(pid)) == 2, "it is kept"
        assert [stream.status for stream in streams] == [0, 0]
    finally:
        os.kill(single.renderer, signal.SIGCONT)
    for stream in streams:
        stream.finish()
        assert (stream.status, stream.error, stream.done) == (200, None, True)


def ended(server: ForgeServer) -> int:
    total: int = server.get("/metrics")["requests"]["total"]
    return total


def test_all_slots_are_busy_and_many_wait(single: Single) -> None:
    server = single.server
    ask_all(server)  # the first of these starts a process
    with occupied(server, slots=2):
        for _ in range(20):
            before = ended(server)
            ask_all(server)
            # Of ten thousands of tokens that wait none had to be sampled.
            if server.busy() == 2 and server.waiting() and ended(server) == before:
                return
        pytest.fail("each time a generation had ended before the answers came")


def test_so_many_may_be_open(single: Single) -> None:
    """Also when nobody waits for them any more: it is the worker that has to get rid of them."""
    server = single.server
    (pid,) = server.pids()
    freeze(pid)
    try:
        asking = [Hanging(server, "/tokenize", {"content": "hello"}) for _ in range(OPEN)]
        eventually(lambda: questions(server) == [OPEN], "the worker has them all")
        for question in asking[1:]:
            question.hang_up()
        with server.client() as client:
            response = client.post("/tokenize", json={"content": "hello"})
        failure = CHAT.refusal(response)
        assert (failure.status, failure.code) == (429, "queue_full")
        assert int(response.headers["retry-after"]) > 0
        assert questions(server) == [OPEN]
    finally:
        os.kill(pid, signal.SIGCONT)
    assert asking[0].read_until(b"}").endswith(b'{"tokens":[1116]}')
    asking[0].hang_up()
    eventually(lambda: questions(server) == [0], "they are gone")
    ask_all(server)
    assert server.pids() == [pid]


def test_nobody_is_left_to_answer(single: Single) -> None:
    """As /health: come back in a moment. The last test of this server: its worker dies."""
    server = single.server
    (pid,) = server.pids()
    freeze(pid)
    question = Asking(server)
    eventually(lambda: questions(server) == [1], "it waits")
    os.kill(pid, signal.SIGKILL)
    response = question.answer()
    failure = CHAT.refusal(response)
    assert (failure.status, failure.code) == (503, "unavailable")
    assert response.headers["retry-after"] == "1"
    server.wait_ready()
    ask_all(server)


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgeServer]:
    """Two workers, of which one that stands still is replaced after a while."""
    shape = ("--workers", "2", "--slots", "1", "--threads", "1", "--stuck-timeout", "3")
    with ForgeServer(tmp_path_factory.mktemp("double"), *shape).serving() as server:
        yield server
        eventually(lambda: questions(server) == [0, 0], "nothing is left")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_worker_that_has_them_dies(double: ForgeServer, number: signal.Signals) -> None:
    """By force, or because the watchdog finds that it stands still: another one answers."""
    server, victim = double, double.workers()[0]
    freeze(victim["pid"])
    asking = [Asking(server, path) for path in EXPECTED]
    abandoned = Hanging(server, "/tokenize", {"content": "hello"})
    # The first went to this one; later ones may go to the other, which has answered already.
    eventually(lambda: questions(server)[0] > 0, "a question waits for it")
    abandoned.hang_up()
    if number is signal.SIGKILL:
        os.kill(victim["pid"], number)
    for question in asking:
        question.right()
    eventually(lambda: gone(victim["pid"]), "it is killed")
    again = victim["restarts"] + 1
    eventually(lambda: server.workers()[0]["restarts"] == again, "the gateway knows of it")
    server.wait_ready()
    assert server.workers()[1]["restarts"] == 0
    assert questions(server) == [0, 0]
