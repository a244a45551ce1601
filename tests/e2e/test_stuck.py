"""Workers that are alive but do not work: stopped, or too slow to say a word."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.e2e.test_same_text import PROMPTS, alone
from tests.support.dialects import CHAT, INFER
from tests.support.server import ForgeServer, eventually, freeze, gone
from tests.support.traffic import Hanging, Streaming

IMPATIENT = ("--stuck-timeout", "3")
LONG: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "max_tokens": 300}


def replaced(server: ForgeServer, pid: int) -> None:
    """Wait until ``pid`` is gone, the gateway knows, and all workers can serve."""
    eventually(lambda: gone(pid), "the stopped worker is killed")
    eventually(lambda: pid not in server.pids(), "its death is noticed")
    eventually(lambda: all(w["state"] == "ready" for w in server.workers()), "it is replaced")


@pytest.mark.parametrize("workers", [1, 2])
def test_stopped_in_mid_stream(
    start_server: Start, exact: tuple[Path, tuple[str, ...]], workers: int
) -> None:
    """Nobody but the gateway can know; the streams go on elsewhere, with the same text."""
    model, options = exact
    shape = ("--workers", str(workers), "--slots", "4")
    server = start_server(*shape, *IMPATIENT, *options, model=model)
    expected = [alone(server, prompt, **LONG) for prompt in PROMPTS[:4]]
    streams = [Streaming(server, prompt, **LONG) for prompt in PROMPTS[:4]]
    for stream in streams:
        stream.wait_for(20)
    victim = server.workers()[0]
    freeze(victim["pid"])
    assert victim["busy"] > 0
    assert [stream.finish() for stream in streams] == expected
    assert [stream.error or stream.broken for stream in streams] == [None] * 4
    replaced(server, victim["pid"])
    assert [worker["restarts"] for worker in server.workers()] == [1] + [0] * (workers - 1)
    assert "silent" in server.stderr
    server.stop()


def test_stopped_while_idle(start_server: Start) -> None:
    """It is found before anybody needs it."""
    server = start_server("--workers", "1", "--slots", "1", *IMPATIENT)
    (pid,) = server.pids()
    freeze(pid)
    replaced(server, pid)
    server.stop()


def test_stopped_while_it_loads(start_server: Start) -> None:
    server = start_server("--workers", "1", "--slots", "1", *IMPATIENT)
    (first,) = server.pids()
    os.kill(first, signal.SIGKILL)
    second = eventually(lambda: next((p for p in server.pids() if p != first), 0), "the next one")
    freeze(second)
    with server.client() as client:
        assert CHAT.ask(client, max_tokens=1).text is not None
    replaced(server, second)
    server.stop()


def test_a_short_stop_is_forgiven(start_server: Start) -> None:
    """A worker that goes on in time has lost nothing, and is not replaced."""
    server = start_server("--workers", "1", "--slots", "1", "--stuck-timeout", "60")
    (pid,) = server.pids()
    stream = Streaming(server, "count", **LONG).wait_for(5)
    freeze(pid)
    os.kill(pid, signal.SIGCONT)
    assert stream.finish()
    assert stream.done
    assert server.pids() == [pid]
    server.stop()


THROTTLE = """
import os, signal, sys, time
pid = int(sys.argv[1])
while True:  # until it is killed, or the process is gone
    os.kill(pid, signal.SIGSTOP)
    time.sleep(float(sys.argv[2]))
    os.kill(pid, signal.SIGCONT)
    time.sleep(0.01)
"""


@contextmanager
def throttled(pid: int, pauses: float = 0.3) -> Iterator[None]:
    """As on a far too slow machine: ``pid`` runs for 10 ms between pauses of so many seconds."""
    process = subprocess.Popen(
        [sys.executable, "-c", THROTTLE, str(pid), str(pauses)], stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(ProcessLookupError):  # it may have been taken for dead
            os.kill(pid, signal.SIGCONT)


def test_a_slow_prefill_is_not_stuck(start_server: Start) -> None:
    """One step that takes longer than the silence allowed: the worker beats, and is left alone."""
    shape = ("--workers", "1", "--slots", "1", "--batch", "2048", "--ctx", "2048")
    server = start_server(*shape, "--stuck-timeout", "5")
    (pid,) = server.pids()
    with throttled(pid):
        for attempt in range(3):
            prompt = f"{attempt} " + "again and again " * 400
            request = Hanging(server, INFER.path, INFER.body(prompt, max_tokens=1))
            request.read_until(b'"completion_tokens"')
            request.hang_up()
            if server.workers()[0]["step_ms"] > 5000:
                break
        else:
            pytest.skip("this machine prefills 1,200 tokens too fast to be slowed down enough")
    (worker,) = server.workers()
    assert (worker["pid"], worker["restarts"]) == (pid, 0)
    server.stop()


def test_a_step_that_never_ends(start_server: Start) -> None:
    """The process beats, its engine does not come back: taken for dead after --step-timeout."""
    shape = ("--workers", "1", "--slots", "1", "--batch", "2048", "--ctx", "2048")
    server = start_server(*shape, "--stuck-timeout", "60", "--step-timeout", "2")
    (pid,) = server.pids()
    with throttled(pid, 2.0):  # two of those are a step of 20 ms
        body = INFER.body("again and again " * 400, max_tokens=2, ignore_eos=True)
        request = Hanging(server, INFER.path, body)
        eventually(lambda: gone(pid), "it is taken for dead")
    assert "step" in server.stderr
    answer = request.read_until(b'"completion_tokens":2')
    assert b"200 OK" in answer, "the next one, which is not slowed down, serves it"
    request.hang_up()
    server.stop()


def test_a_gateway_that_was_stopped_itself_blames_nobody(start_server: Start) -> None:
    """Ctrl-Z and fg: the clock jumped, and the workers were as silent as the gateway was deaf."""
    server = start_server("--workers", "2", "--slots", "1", *IMPATIENT)
    pids = server.pids()
    everyone = [server.process.pid, *pids]
    freeze(*everyone)
    time.sleep(6)  # more than the silence allowed; how much more does not matter
    for pid in everyone:
        os.kill(pid, signal.SIGCONT)
    with server.client() as client:
        assert CHAT.ask(client, max_tokens=1).text is not None
    assert server.pids() == pids
    server.stop()
