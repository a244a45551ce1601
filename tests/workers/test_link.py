"""The worker's end of the link, on a socketpair; the test is the gateway."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.engine_driver import Driver, generate
from tests.support.server import DEADLINE_S
from workers.engine.engine import Inbox, Message
from workers.engine.sequence import EngineSequence
from workers.input_processor import InputProcessor, LateInputProcessor
from workers.link import LONG_BYTES, Lane, Link
from workers.llama import Model
from workers.protocol import (
    COMPUTE_FAILED,
    CONTEXT_OVERFLOW,
    Answered,
    Ask,
    Cancel,
    Chat,
    Detokenize,
    Failed,
    FrameDecoder,
    FromWorker,
    Park,
    QuestionFailed,
    Ready,
    StartupFailed,
    Step,
    Tokenize,
    encode,
)
from workers.refused import InputRefused
from workers.template.sandbox import SandboxFailed
from workers.template.sources import TemplateFailed
from workers.token_service import TokenService


class Wire:
    def __init__(self) -> None:
        self.gateway, worker = socket.socketpair()
        self.worker = worker
        self.inbox: Inbox = Inbox()
        self.link = Link(worker, self.inbox)
        self._decoder: FrameDecoder[Any] = FrameDecoder(FromWorker)

    def read(self, data: bytes) -> bool:
        """Let the link read ``data``; whether it would read on."""
        self.gateway.sendall(data)
        return self.link._take()

    def prepare(self, made: Driver, lane: Lane = "short") -> None:
        """Prepare the prompts of one kind that wait for it."""
        unprepared = self.link._unprepared.of(lane)
        while not unprepared.empty():
            self.link._prepare(unprepared.get(), made.input_processor)

    def came(self) -> list[Message]:
        """Return what lies in the inbox."""
        return [self.inbox.get_nowait() for _ in range(self.inbox.qsize())]

    def heard(self) -> list[Ready | StartupFailed | Step]:
        self.gateway.setblocking(False)
        return self.decode(self.gateway.recv(1 << 16))

    def decode(self, data: bytes) -> list[Any]:
        """Return what the worker said."""
        return list(self._decoder.feed(data))


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.gateway.close()
    made.worker.close()


def test_requests_are_prepared_for_the_engine(wire: Wire, f16: Driver) -> None:
    request = generate(1, "hello", resume=(5, 6))
    assert wire.read(encode(request) + encode(Cancel(1)))
    wire.prepare(f16)
    sequence, cancel = wire.came()
    assert isinstance(sequence, EngineSequence)
    assert sequence.request == request
    assert (sequence.tokens[-2:], sequence.sampled, sequence.computed) == ([5, 6], 2, 0)
    assert cancel == Cancel(1)


def test_refused_prompt_never_reaches_the_engine(wire: Wire, f16: Driver) -> None:
    too_long = generate(7, " a" * 5000, attempt=3)
    assert wire.read(encode(too_long) + encode(generate(8, "fine")))
    wire.prepare(f16)
    assert [s.request.id for s in wire.came() if isinstance(s, EngineSequence)] == [8]
    (step,) = wire.heard()
    assert isinstance(step, Step)
    (failed,) = step.events
    assert isinstance(failed, Failed)
    assert (failed.id, failed.attempt, failed.code) == (7, 3, CONTEXT_OVERFLOW)
    assert step.load is None, "it is not the engine that speaks"


def test_without_a_renderer_only_chats_fail(
    wire: Wire, f16: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's fault, not the client's."""

    def render(*_: object, **__: object) -> str:
        raise SandboxFailed("no process")

    monkeypatch.setattr(f16.input_processor._prompter._sandbox, "render", render)
    chat = generate(1, Chat([{"role": "user", "content": "a"}]))
    assert wire.read(encode(chat) + encode(generate(2, "text")))
    wire.prepare(f16)
    assert [s.request.id for s in wire.came() if isinstance(s, EngineSequence)] == [2]
    (step,) = wire.heard()
    assert isinstance(step, Step)
    assert step.events == [Failed(1, 1, COMPUTE_FAILED, "no process")]


def test_cancellations_go_past_prompts_that_wait(wire: Wire, f16: Driver) -> None:
    assert wire.read(encode(generate(2, "long")) + encode(Cancel(1)))
    assert wire.came() == [Cancel(1)]
    wire.prepare(f16)
    (sequence,) = wire.came()
    assert isinstance(sequence, EngineSequence)


def test_what_concerns_one_generation_stays_in_order(wire: Wire, f16: Driver) -> None:
    assert wire.read(encode(generate(1, "a")) + encode(Park(1)))
    assert wire.read(encode(Cancel(1)))
    assert wire.came() == []
    wire.prepare(f16)
    sequence, *rest = wire.came()
    assert isinstance(sequence, EngineSequence)
    assert rest == [Park(1), Cancel(1)]
    assert wire.read(encode(Park(1)))
    assert wire.came() == [Park(1)], "nothing is prepared any more"


def test_short_prompts_go_past_long_ones(wire: Wire, f16: Driver) -> None:
    """A message about a long one stays behind it, however short it is itself."""
    long = generate(1, "a" * LONG_BYTES)
    assert wire.read(encode(long) + encode(Cancel(1)) + encode(generate(2, "short")))
    wire.prepare(f16)
    assert [s.request.id for s in wire.came() if isinstance(s, EngineSequence)] == [2]
    assert wire.read(encode(generate(1, "a", attempt=2)))
    wire.prepare(f16)
    assert wire.came() == [], "it follows the earlier attempt"
    wire.prepare(f16, "long")
    refused, cancel, again = wire.came()
    assert (refused, cancel) == (Cancel(1), Cancel(1))
    assert isinstance(again, EngineSequence)
    (step,) = wire.heard()
    assert isinstance(step, Step)
    (failed,) = step.events
    assert isinstance(failed, Failed)
    assert (failed.id, failed.attempt, failed.code) == (1, 1, CONTEXT_OVERFLOW)
    assert wire.read(encode(generate(1, "a", attempt=3)))
    wire.prepare(f16)
    assert len(wire.came()) == 1, "the long one is forgotten"


def test_what_long_prompts_need_is_made_with_the_first_one(f16: Driver) -> None:
    """And once; but if there was no process to be had, the next one tries again."""
    calls: list[str] = []
    failures: list[Exception] = [SandboxFailed("no process"), TemplateFailed("broken")]

    def make() -> InputProcessor:
        calls.append("made")
        if failures:
            raise failures.pop(0)
        return f16.input_processor

    late = LateInputProcessor(make)
    assert calls == []
    for reason in ("no process", "broken"):
        with pytest.raises(InputRefused, match=reason) as refused:
            late.prepare(generate(1, "hello"))
        assert refused.value.code == COMPUTE_FAILED
    for _ in range(2):
        assert isinstance(late.prepare(generate(1, "hello")), EngineSequence)
    assert len(calls) == 3


def test_nothing_to_read_is_no_end(wire: Wire) -> None:
    assert wire.link._take()
    frame = encode(Cancel(1))
    assert wire.read(frame[:3])
    assert wire.came() == []
    assert wire.read(frame[3:])
    assert wire.came() == [Cancel(1)]


def test_rubbish_ends_the_reading(wire: Wire) -> None:
    assert not wire.read(encode(Cancel(1)) + b"\x00\x00\x00\x01\xc1" + encode(Cancel(2)))
    assert wire.came() == [Cancel(1)]


def test_gateway_that_was_killed_is_an_end(wire: Wire) -> None:
    wire.gateway.close()
    assert not wire.link._take()


def test_closed_link_is_an_end(wire: Wire) -> None:
    wire.worker.close()
    assert not wire.link._take()


def test_frames_are_whole(wire: Wire) -> None:
    wire.link.send(StartupFailed("one"))
    wire.link.send(StartupFailed("two"))
    assert wire.heard() == [StartupFailed("one"), StartupFailed("two")]


def test_questions_wait_behind_no_prompt(wire: Wire, f16: Driver, f16_model: Model) -> None:
    """Nobody prepares anything here, nor decodes; and nothing reaches the engine."""
    control = TokenService(f16_model, lambda: f16.input_processor._prompter)
    threading.Thread(target=wire.link.answer, args=(control,), daemon=True).start()
    asked = [Ask(1, Tokenize("hello", False, True, False)), Ask(1000, Detokenize([9999]))]
    assert wire.read(encode(generate(1, "hello")) + b"".join(map(encode, asked)))
    assert wire.came() == []
    wire.gateway.settimeout(DEADLINE_S)
    answers: list[Answered | QuestionFailed] = []
    while len(answers) < 2:
        answers += wire.decode(wire.gateway.recv(1 << 16))
    (first, second) = answers
    assert first == Answered(1, b'{"tokens":[1116]}')
    assert isinstance(second, QuestionFailed)
    assert (second.id, second.param) == (1000, "tokens.0")
    long = Ask(1001, Tokenize("a" * LONG_BYTES, False, True, False))
    assert wire.read(encode(long) + encode(Ask(1002, Tokenize("hello", False, True, False))))
    answers.clear()
    while not answers:
        answers += wire.decode(wire.gateway.recv(1 << 16))
    assert answers == [Answered(1002, b'{"tokens":[1116]}')], "a long one has a thread of its own"
    assert wire.read(encode(Cancel(1))), "an id of a question is not one of a generation"
    assert wire.came() == [], "it is behind its own prompt"
