"""One worker dies, at each moment of a request's life: the text is that of an undisturbed run.

Where a moment must be caught, the worker is stopped (SIGSTOP) first: it can't leave it then.
"""

import os
import signal
import threading

import httpx
import pytest

from tests.chaos.conftest import StartExact
from tests.conftest import Start
from tests.e2e.test_same_text import PROMPTS, alone
from tests.support.dialects import CHAT, COMPLETIONS, DIALECTS, INFER, Dialect
from tests.support.killing import DEADLY, SAMPLED, healthy, kill, stopped, whole
from tests.support.server import DEADLINE_S, eventually, gone
from tests.support.traffic import Streaming

pytestmark = pytest.mark.usefixtures("unmeasured")

# ------------------------------------------------------------------ queued


@pytest.mark.parametrize("workers", [1, 2])
def test_while_queued(start_exact: StartExact, workers: int) -> None:
    """All workers die: those that run and those that wait behind them are all served."""
    server = start_exact(workers, 1)
    expected = [alone(server, prompt, **SAMPLED) for prompt in PROMPTS[:5]]
    pids = server.pids()
    with stopped(*pids):
        streams = [Streaming(server, prompt, **SAMPLED) for prompt in PROMPTS[:5]]
        eventually(lambda: len(server.waiting()) == 5 - workers, "the others wait")
        for pid in pids:
            kill(pid)
        assert [whole(stream) for stream in streams] == expected
    healthy(server, workers)


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_a_whole_answer(start_exact: StartExact, dialect: Dialect) -> None:
    """Not a stream: nothing at all is seen but the time it takes."""
    server = start_exact(1, 1)
    with server.client() as client:
        expected = dialect.ask(client, **SAMPLED)
        answers = []
        decoded = server.decoded()
        asking = threading.Thread(
            target=lambda: answers.append(dialect.ask(client, **SAMPLED)), daemon=True
        )
        asking.start()
        eventually(lambda: server.decoded() > decoded, "it has tokens")
        (pid,) = server.pids()
        with stopped(pid):
            assert server.busy() == 1
            kill(pid)
        asking.join(DEADLINE_S)
        (answer,) = answers
    assert (answer.text, answer.reason) == (expected.text, expected.reason)
    assert answer.usage["completion_tokens"] == expected.usage["completion_tokens"]
    healthy(server, 1)


# ------------------------------------------------------------------ before the first token


@pytest.mark.parametrize("number", DEADLY)
def test_before_the_first_token(start_exact: StartExact, number: signal.Signals) -> None:
    """It was sent to the worker, which has not said a word about it."""
    server = start_exact(1, 1)
    expected = alone(server, PROMPTS[2], **SAMPLED)
    (pid,) = server.pids()
    with stopped(pid):
        stream = Streaming(server, PROMPTS[2], **SAMPLED)
        eventually(lambda: server.busy() == 1, "the worker has it")
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)  # only SIGKILL ends a process that is stopped
        eventually(lambda: gone(pid), "the worker ends")
    assert whole(stream) == expected
    healthy(server, 1)


def test_in_its_prefill(start_exact: StartExact) -> None:
    """Some of the prompt is computed, and no token came out of it yet."""
    server = start_exact(1, 1, "--batch", "128")
    for attempt in range(20):
        prompt = f"{attempt} " + "again and again " * 280
        with server.client() as client:
            expected = COMPLETIONS.ask(client, prompt, **SAMPLED).text
        # Evicted from the prefix cache, or there would be nothing left to compute.
        (first,) = server.pids()
        kill(first)

        def replaced(first: int = first) -> bool:
            (worker,) = server.workers()
            return bool(worker["pid"] != first and worker["state"] == "ready")

        eventually(replaced, "the gateway knows, and another worker is ready")
        answers: list[str] = []

        def ask(prompt: str = prompt, answers: list[str] = answers) -> None:
            with server.client() as client:
                answers.append(COMPLETIONS.ask(client, prompt, **SAMPLED).text)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        eventually(lambda: server.workers()[0]["prefill_tokens"] > 0, "it is in its prefill")
        (pid,) = server.pids()
        with stopped(pid):
            caught = server.decoded() == 0
            kill(pid)
        asking.join(DEADLINE_S)
        assert answers == [expected]
        if caught:
            break
    else:
        pytest.fail("never caught in its prefill")
    healthy(server, 2 * attempt + 2)


# ------------------------------------------------------------------ parked


@pytest.mark.parametrize("workers", [1, 2])
def test_while_parked(start_exact: StartExact, workers: int) -> None:
    """A worker dies that keeps the state of a generation without a slot."""
    server = start_exact(workers, 1, "--quantum", "0", "--aging-rate", "0.001")
    long = {**SAMPLED, "max_tokens": 400}
    expected = [alone(server, prompt, **long) for prompt in PROMPTS[:4]]
    low = [Streaming(server, p, priority=0, **long).wait_for(5) for p in PROMPTS[:workers]]
    high = [Streaming(server, p, priority=2, **long) for p in PROMPTS[2 : 2 + workers]]

    def parked() -> bool:
        return [place["parked"] for place in server.waiting()].count(True) == workers

    eventually(parked, "they gave way")
    pids = server.pids()
    with stopped(*pids):
        assert parked(), "the others were through before they could be caught"
        for pid in pids:
            kill(pid)
    assert [whole(stream) for stream in low] == expected[:workers]
    assert [whole(stream) for stream in high] == expected[2 : 2 + workers]
    healthy(server, workers)


# ------------------------------------------------------------------ loading, draining


def test_while_its_successor_loads(start_exact: StartExact) -> None:
    """A stream waits through a death, and another one before anybody could take it over."""
    server = start_exact(1, 1, "--no-spare")  # a spare process would be ready too soon
    expected = alone(server, PROMPTS[2], **SAMPLED)
    stream = Streaming(server, PROMPTS[2], **SAMPLED).wait_for(10)
    (first,) = server.pids()
    kill(first)
    (second,) = eventually(lambda: [p for p in server.pids() if p != first], "its successor")
    with stopped(second):
        assert server.workers()[0]["state"] == "starting"
        kill(second)
    assert whole(stream) == expected
    healthy(server, 2)


def test_the_other_while_all_start(start_exact: StartExact) -> None:
    """Once one worker was ready, another that dies while it loads is only tried again."""
    server = start_exact(2, 1)
    first = server.pids()
    kill(first[1])
    (second,) = eventually(lambda: [p for p in server.pids() if p not in first], "its successor")
    kill(second)
    with server.client() as client:
        assert INFER.ask(client, max_tokens=3).text is not None
    healthy(server, 2)


@pytest.mark.parametrize("number", DEADLY)
def test_in_a_drain(start_exact: StartExact, number: signal.Signals) -> None:
    """All that was accepted is finished, by a worker that is started for it during the drain."""
    server = start_exact(1, 1)
    params = {**SAMPLED, "max_tokens": 400}
    expected = [alone(server, prompt, **params) for prompt in PROMPTS[:2]]
    streams = [Streaming(server, PROMPTS[0], **params).wait_for(1)]
    streams.append(Streaming(server, PROMPTS[1], **params))
    eventually(lambda: len(server.waiting()) == 1, "the second waits")
    (pid,) = server.pids()
    server.signal(signal.SIGTERM)
    eventually(lambda: httpx.get(server.url + "/health").status_code == 503, "it drains")
    kill(pid, number)
    assert [whole(stream) for stream in streams] == expected
    server.expect_end([pid])


def test_an_unhealthy_moment(start_server: Start) -> None:
    """With its only worker dead the server says so, and a request waits instead of failing."""
    server = start_server("--workers", "1", "--slots", "1")
    kill(server.pids()[0])
    eventually(lambda: httpx.get(server.url + "/health").status_code == 503, "it is noticed")
    with server.client() as client:
        assert CHAT.ask(client, max_tokens=1).text is not None
    healthy(server, 1)
