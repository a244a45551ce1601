"""One worker dies while it streams: the text is that of an undisturbed run."""

import signal
from typing import Any

import pytest

from tests.chaos.conftest import StartExact
from tests.e2e.test_same_text import PROMPTS, alone
from tests.support.dialects import DIALECTS
from tests.support.killing import DEADLY, SAMPLED, healthy, kill, stopped, whole
from tests.support.server import eventually
from tests.support.traffic import Streaming, StreamOf

pytestmark = pytest.mark.usefixtures("unmeasured")


@pytest.mark.parametrize("number", DEADLY)
@pytest.mark.parametrize("workers", [1, 2])
def test_in_mid_stream(start_exact: StartExact, workers: int, number: signal.Signals) -> None:
    """Streams of all kinds of sampling go on, on the other worker or on the successor."""
    server = start_exact(workers, 8 // workers)
    jobs = [(prompt, {**LONG, **params}) for prompt, params in zip(PROMPTS, MIXED, strict=False)]
    expected = [alone(server, prompt, **params) for prompt, params in jobs]
    streams = [Streaming(server, prompt, **params) for prompt, params in jobs]
    for stream in streams:
        stream.wait_for(40)
    victim = server.workers()[0]
    assert victim["busy"] > 0
    kill(victim["pid"], number)
    assert [whole(stream) for stream in streams] == expected
    assert [worker["restarts"] for worker in server.workers()[1:]] == [0] * (workers - 1)
    healthy(server, 1)


MIXED: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 1, "seed": 1},
    {"temperature": 0, "frequency_penalty": 1.5, "presence_penalty": 1.5},
    {"temperature": 0.8, "seed": 2, "repeat_penalty": 2, "top_p": 0.9},
    {"temperature": 1.5, "seed": 3, "top_k": 50, "min_p": 0.01},
    {"temperature": 0},
]
"""A resumed generation must draw the same numbers and know the same penalties."""
LONG: dict[str, Any] = {"ignore_eos": True, "max_tokens": 150}


def test_every_dialect(start_exact: StartExact) -> None:
    """Beside each other in the worker that dies; its successor goes on with all of them."""
    server = start_exact(1, 8)
    asked = {"temperature": 1, "seed": 3, **LONG}

    def streams_of_all() -> list[StreamOf]:
        return [
            StreamOf(each, server, each.body(PROMPTS[2], stream=True, **asked))
            for each in DIALECTS
            if each.streams
        ]

    expected = [stream.finish() for stream in streams_of_all()]
    assert all(len(text) > 200 for text in expected)
    streams = streams_of_all()
    for stream in streams:
        stream.wait_for(40)
    kill(server.pids()[0])
    assert [whole(stream) for stream in streams] == expected
    healthy(server, 1)


def test_constrained_streams(start_exact: StartExact) -> None:
    """A grammar, and the parser of tool calls, go on where the dead worker was in them."""
    server = start_exact(1, 4)
    record = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 30}, "n": {"type": "integer"}},
        "required": ["name", "n"],
        "additionalProperties": False,
    }
    schema = {"type": "array", "items": record, "minItems": 40, "maxItems": 40}
    params = {"temperature": 1, "seed": 5, "max_tokens": 700, "json_schema": schema}
    expected = alone(server, PROMPTS[2], **params)
    stream = Streaming(server, PROMPTS[2], **params).wait_for(40)
    kill(server.pids()[0])
    assert whole(stream) == expected
    assert expected.startswith('[{"name": "')
    healthy(server, 1)


def test_all_workers_at_once(start_exact: StartExact) -> None:
    server = start_exact(2, 2)
    expected = [alone(server, prompt, **SAMPLED) for prompt in PROMPTS[:4]]
    streams = [Streaming(server, prompt, **SAMPLED).wait_for(1) for prompt in PROMPTS[:4]]
    with stopped(*server.pids()):
        for pid in server.pids():
            kill(pid)
    assert [whole(stream) for stream in streams] == expected
    healthy(server, 2)


@pytest.mark.parametrize("workers", [1, 2])
def test_again_and_again(start_exact: StartExact, workers: int) -> None:
    """Deaths count only while no token comes in between, so a long stream survives many."""
    server = start_exact(workers, 1)
    params = {"temperature": 0, "ignore_eos": True, "max_tokens": 400}
    expected = alone(server, PROMPTS[2], **params)
    stream = Streaming(server, PROMPTS[2], **params)
    for _ in range(4):
        stream.wait_for(len(stream.text) + 60)
        holder = next(worker for worker in server.workers() if worker["busy"])
        kill(holder["pid"])
    assert whole(stream) == expected
    healthy(server, 4)


def test_a_stop_string_that_straddles_the_death(start_exact: StartExact) -> None:
    """Text is held back while a stop string may be growing; what is held back must not be lost."""
    server = start_exact(1, 1)
    params = {"temperature": 0, "ignore_eos": True, "max_tokens": 200}
    text = alone(server, PROMPTS[2], **params)
    for at in (60, 200):
        # Nearly, but never, what comes: held back again and again.
        stop = [text[at + i : at + i + 12] + "\0" for i in range(0, 32, 2)]
        stream = Streaming(server, PROMPTS[2], stop=stop, **params)
        eventually(lambda s=stream, at=at: len(s.text) > at - 20, "close to it")  # type: ignore[misc]
        kill(server.pids()[0])
        assert whole(stream) == text
    end = text[300:312]
    stream = Streaming(server, PROMPTS[2], stop=end, **params).wait_for(10)
    kill(server.pids()[0])
    assert whole(stream) == text[: text.index(end)]
    healthy(server, 3)
