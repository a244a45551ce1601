"""The worker's end of the link, on a socketpair; the test is the gateway."""

import socket
from collections.abc import Iterator

import pytest

from tests.workers.driver import Driver, generate
from workers.engine import Inbox
from workers.link import Link
from workers.protocol import (
    CONTEXT_OVERFLOW,
    Broken,
    Cancel,
    Failed,
    FrameDecoder,
    FromWorker,
    Park,
    Ready,
    Step,
    encode,
)
from workers.sequence import Sequence


class Wire:
    def __init__(self) -> None:
        self.gateway, worker = socket.socketpair()
        self.worker = worker
        self.link = Link(worker)
        self.inbox: Inbox = Inbox()
        self._decoder: FrameDecoder[Ready | Broken | Step] = FrameDecoder(FromWorker)

    def read(self, data: bytes, made: Driver) -> list[Sequence | Cancel | Park]:
        """Let the link read ``data`` and then EOF; what came into the inbox."""
        self.gateway.sendall(data)
        self.gateway.shutdown(socket.SHUT_WR)
        self.link._read(self.inbox, made.preparer)
        return [self.inbox.get_nowait() for _ in range(self.inbox.qsize())]

    def heard(self) -> list[Ready | Broken | Step]:
        self.gateway.setblocking(False)
        return list(self._decoder.feed(self.gateway.recv(1 << 16)))


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.gateway.close()
    made.worker.close()


def test_requests_are_prepared_for_the_engine(wire: Wire, f16: Driver) -> None:
    request = generate(1, "hello", resume=(5, 6))
    sequence, cancel = wire.read(encode(request) + encode(Cancel(1)), f16)
    assert isinstance(sequence, Sequence)
    assert sequence.request == request
    assert (sequence.tokens[-2:], sequence.sampled, sequence.computed) == ([5, 6], 2, 0)
    assert cancel == Cancel(1)


def test_refused_prompt_never_reaches_the_engine(wire: Wire, f16: Driver) -> None:
    too_long = generate(7, " a" * 5000, attempt=3)
    got = wire.read(encode(too_long) + encode(generate(8, "fine")), f16)
    assert [s.request.id for s in got if isinstance(s, Sequence)] == [8]
    (step,) = wire.heard()
    assert isinstance(step, Step)
    (failed,) = step.events
    assert isinstance(failed, Failed)
    assert (failed.id, failed.attempt, failed.code) == (7, 3, CONTEXT_OVERFLOW)
    assert step.load is None, "it is not the engine that speaks"


def test_rubbish_ends_the_reading(wire: Wire, f16: Driver) -> None:
    data = encode(Cancel(1)) + b"\x00\x00\x00\x01\xc1" + encode(Cancel(2))
    assert wire.read(data, f16) == [Cancel(1)]


def test_gateway_that_was_killed_is_an_end(wire: Wire, f16: Driver) -> None:
    wire.worker.close()
    wire.link._read(wire.inbox, f16.preparer)
    assert wire.inbox.empty()


def test_frames_are_whole(wire: Wire) -> None:
    wire.link.send(Broken("one"))
    wire.link.send(Broken("two"))
    assert wire.heard() == [Broken("one"), Broken("two")]
