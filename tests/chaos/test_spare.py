"""The spare process of a server with one worker: it takes over, and it is no orphan."""

import os
import signal

import pytest

from bench.processes import PROC, children, process
from tests.chaos.conftest import StartExact
from tests.e2e.test_same_text import PROMPTS, alone
from tests.support.killing import SAMPLED, healthy, kill, whole
from tests.support.server import ForgeServer, eventually, freeze, gone
from tests.support.traffic import Streaming

pytestmark = [
    pytest.mark.usefixtures("unmeasured"),
    pytest.mark.skipif(not PROC.is_dir(), reason="processes are found in /proc"),
]
LONG = {**SAMPLED, "max_tokens": 400}


def spares(server: ForgeServer, workers: list[int]) -> list[int]:
    """Children of the gateway that run Python and are no workers, with a process for templates."""
    waiting = [c.pid for c in children(server.process.pid) if "spawn_main" in c.command]
    return [pid for pid in waiting if pid not in workers and children(pid)]


def spare_of(server: ForgeServer) -> int:
    (worker,) = server.pids()
    (found,) = eventually(lambda: spares(server, [worker]), "a spare process waits")
    return found


def test_it_takes_over_again_and_again(start_exact: StartExact) -> None:
    """The successor is the process that waited; then another waits."""
    server = start_exact(1, 1)
    expected = alone(server, PROMPTS[2], **LONG)
    for restarts in (1, 2):
        spare = spare_of(server)
        stream = Streaming(server, PROMPTS[2], **LONG).wait_for(10)
        (worker,) = server.pids()
        kill(worker)
        assert whole(stream) == expected
        assert server.pids() == [spare]
        assert server.workers()[0]["restarts"] == restarts
    healthy(server, 2)


def test_its_death_is_nothing_to_anyone(start_exact: StartExact) -> None:
    """Killed before it is needed, it is reaped, and another one comes."""
    server = start_exact(1, 1)
    expected = alone(server, PROMPTS[2], **LONG)
    first = spare_of(server)
    stream = Streaming(server, PROMPTS[2], **LONG).wait_for(10)
    kill(first)
    assert whole(stream) == expected
    eventually(lambda: process(first) is None, "the gateway reaps it")
    assert spare_of(server) != first
    healthy(server, 0)


def test_both_die(start_exact: StartExact) -> None:
    server = start_exact(1, 1)
    expected = alone(server, PROMPTS[2], **LONG)
    spare = spare_of(server)
    stream = Streaming(server, PROMPTS[2], **LONG).wait_for(10)
    (worker,) = server.pids()
    os.kill(spare, signal.SIGKILL)
    kill(worker)
    assert whole(stream) == expected
    healthy(server, 1)


@pytest.mark.parametrize("options", [(1, 1, "--no-spare"), (2, 1)])
def test_it_is_for_an_only_worker(start_exact: StartExact, options: tuple[int | str, ...]) -> None:
    """Not beside another, which takes over at once, nor where it is not wanted."""
    server = start_exact(*options)
    kill(server.pids()[0])

    def replaced() -> bool:
        found = server.workers()
        return found[0]["restarts"] == 1 and all(each["state"] == "ready" for each in found)

    eventually(replaced, "its successor is ready")
    family = {child.pid for child in children(server.process.pid) if "spawn_main" in child.command}
    assert family == set(server.pids())
    healthy(server, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_gateway(start_exact: StartExact, number: signal.Signals) -> None:
    """Even if it stands still."""
    server = start_exact(1, 1)
    spare = spare_of(server)
    (sandbox,) = [child.pid for child in children(spare)]
    freeze(spare)
    server.signal(number)
    server.wait()
    eventually(lambda: gone(spare) and gone(sandbox), "both are gone")


def test_signals_to_the_group_are_nothing_to_it(start_exact: StartExact) -> None:
    """It ends when the gateway says so, which drains first."""
    server = start_exact(1, 1)
    expected = alone(server, PROMPTS[2], **LONG)
    spare = spare_of(server)
    stream = Streaming(server, PROMPTS[2], **LONG).wait_for(1)
    (worker,) = server.pids()
    for pid in (server.process.pid, worker, spare):
        os.kill(pid, signal.SIGTERM)
    kill(worker)
    assert whole(stream) == expected
    server.expect_end([worker, spare])
