"""Clients that go away: nothing is computed for nobody."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.dialects import CHAT, COMPLETIONS, INFER, WAYS, Way
from tests.support.server import ForgeServer, eventually, freeze
from tests.support.shared_servers import SharedServers
from tests.support.traffic import ENDLESS, Hanging, jobs_waiting, occupied

ENGINE = [way for way in WAYS if way.dialect in (INFER, CHAT, COMPLETIONS)]
"""Enough for what the worker does, which knows no dialects."""


@pytest.fixture(scope="module")
def double(shared_servers: SharedServers) -> ForgeServer:
    """One worker with two slots: one may be left running beside the one that ends."""
    return shared_servers("--workers", "1", "--slots", "2")


def hanging(server: ForgeServer, way: Way) -> Hanging:
    # /v1/completions would stop after 16.
    return Hanging(server, way.path, way.body(**ENDLESS, max_tokens=2000))


def cancelled(server: ForgeServer) -> int:
    count: int = server.get("/metrics")["requests"]["cancelled"]
    return count


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_while_queued(double: ForgeServer, way: Way) -> None:
    with occupied(double, slots=2):
        before = cancelled(double)
        request = hanging(double, way)
        eventually(lambda: len(jobs_waiting(double)) == 1)
        request.hang_up()
        eventually(lambda: not jobs_waiting(double), "the queue forgets it")
        # The holders themselves are not disturbed.
        assert (double.busy(), cancelled(double)) == (2, before + 1)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_while_generating(double: ForgeServer, way: Way) -> None:
    before, decoded = cancelled(double), double.decoded()
    request = hanging(double, way)
    if way.stream:
        request.read_until(way.dialect.begins)
    eventually(lambda: double.decoded() > decoded, "it generates")
    request.reset()  # the other way it would have a second to end
    eventually(lambda: double.busy() == 0, "its slot is free")
    assert cancelled(double) == before + 1
    stopped = double.decoded()
    assert stopped < decoded + 2000
    # The worker counts every token it samples: nothing else was computed since.
    another = Hanging(double, INFER.path, INFER.body(max_tokens=5, ignore_eos=True))
    another.read_until(b'"completion_tokens":5')
    another.hang_up()
    assert double.decoded() == stopped + 5


STEP = 128
"""The token budget of one step of the worker below."""


UNTOLD = 20
"""Tokens at most that a frame of 10 ms holds of a stream, in steps of half a millisecond."""


@pytest.fixture(scope="module")
def slow(shared_servers: SharedServers) -> ForgeServer:
    """Small steps, so that a long prompt takes many of them."""
    return shared_servers("--workers", "1", "--slots", "1", "--batch", str(STEP))


@contextmanager
def frozen(server: ForgeServer) -> Iterator[None]:
    """The only worker stands still, in whatever step it is."""
    (pid,) = server.pids()
    freeze(pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def computed(server: ForgeServer) -> tuple[int, int]:
    """Tokens prefilled and sampled so far."""
    (worker,) = server.workers()
    return worker["prefill_tokens"], worker["decode_tokens"]


def settled(server: ForgeServer) -> tuple[int, int]:
    """The same, once the frames that were under way have come."""
    seen: list[tuple[int, int]] = []

    def still() -> bool:
        seen.append(computed(server))
        return len(seen) > 20 and len(set(seen[-20:])) == 1

    eventually(still, "the counters stand still")
    return seen[-1]


def hang_up_in(
    slow: ForgeServer, phase: str, way: Way, body: dict[str, Any]
) -> tuple[int, int] | None:
    """Stop the worker in that phase of a request, whose client then goes.

    The counters at that moment; None if the request had left the phase before it was stopped.
    """
    before = settled(slow)
    request = Hanging(slow, way.path, body)
    at = ("prefill", "decode").index(phase)
    eventually(lambda: computed(slow)[at] > before[at], f"it is in its {phase}")
    with frozen(slow):
        stopped = settled(slow)
        request.hang_up()
        eventually(lambda: slow.get("/metrics")["running"] == 0, "the gateway knows")
    eventually(lambda: slow.busy() == 0, "its slot is free")
    return None if phase == "prefill" and stopped[1] > before[1] else stopped


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("way", ENGINE, ids=str)
def test_the_slot_is_free_within_one_step(slow: ForgeServer, way: Way, phase: str) -> None:
    """The worker stands still in mid-work, the client goes, the worker wakes: it stops."""
    for attempt in range(20):
        # Different each time, or the prefix cache would leave nothing to prefill.
        words = f"{way} {phase} {attempt} " + "again and again " * 280
        stopped = hang_up_in(slow, phase, way, way.body(words, **ENDLESS, max_tokens=2000))
        if stopped is not None:
            break
    else:
        pytest.fail(f"never caught in its {phase}")
    prefilled, sampled = settled(slow)
    # The step in which it was stopped ends. What quick steps before it sampled may not be told yet.
    assert prefilled - stopped[0] <= STEP
    assert sampled - stopped[1] <= 1 + UNTOLD


def test_neighbours_go_on(double: ForgeServer) -> None:
    """Of two streams in one batch one hangs up; the other gets all its tokens."""
    params = {**ENDLESS, "max_tokens": 300, "stream": True}
    stays = Hanging(double, COMPLETIONS.path, COMPLETIONS.body("once", **params))
    goes = hanging(double, Way(CHAT, stream=True))
    stays.read_until(b"data: ")
    goes.read_until(b"data: ")
    goes.hang_up()
    rest = stays.read_until(b"data: [DONE]\n\n")
    stays.hang_up()
    assert b'"finish_reason":"length"' in rest
    eventually(lambda: double.busy() == 0)


def test_many_at_once(double: ForgeServer) -> None:
    before = cancelled(double)
    requests = [hanging(double, way) for way in WAYS * 2]
    eventually(lambda: len(double.waiting()) == len(requests) - 2)
    for request in requests:
        request.hang_up()
    eventually(lambda: double.busy() == 0 and not double.waiting(), "all are forgotten")
    assert cancelled(double) == before + len(requests)
    assert double.get("/metrics")["running"] == 0
