"""A real worker process on a socketpair; the test is the gateway."""

import multiprocessing
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from gateway.config.config import EMBEDDED_MODEL
from tests.support.engine_driver import generate, spec
from tests.support.server import DEADLINE_S
from workers.protocol import (
    Finished,
    FrameDecoder,
    FromWorker,
    Heartbeat,
    Ready,
    Report,
    Step,
    Violated,
    WorkerSpec,
    encode,
)


def leaky_main(sock: socket.socket, spec: WorkerSpec) -> None:
    """The entry of a worker with a bug: it never gives cells back to llama.cpp."""
    from workers.__main__ import main
    from workers.llama import Context

    Context.drop = lambda *_: None  # type: ignore[method-assign]
    main(sock, spec)


class Line:
    """The gateway's end."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._decoder: FrameDecoder[Report | Heartbeat] = FrameDecoder(FromWorker)
        self.beats = 0

    def send(self, message: msgspec.Struct) -> None:
        self._sock.sendall(encode(message))

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(1 << 16)
        except ConnectionResetError:  # it ended with something of ours unread
            return b""

    def reports(self) -> Iterator[Report]:
        """Yield what the worker says, until it hangs up."""
        while data := self._receive():
            for message in self._decoder.feed(data):
                if isinstance(message, Heartbeat):
                    self.beats += 1
                else:
                    yield message


@contextmanager
def leaky_worker() -> Iterator[Line]:
    ours, theirs = socket.socketpair()
    process = multiprocessing.get_context("spawn").Process(
        target=leaky_main, args=(theirs, spec(EMBEDDED_MODEL))
    )
    with theirs:
        process.start()
    with ours:
        ours.settimeout(DEADLINE_S)
        yield Line(ours)
    process.join(DEADLINE_S)
    assert process.exitcode == 0
    process.close()


def test_a_worker_that_leaks_says_so_and_ends() -> None:
    """Its books are held against llama.cpp's memory whenever it is idle."""
    with leaky_worker() as line:
        reports = line.reports()
        assert isinstance(next(reports), Ready)
        number = 0
        seen: list[Report] = []
        # Sooner or later a kept sequence is evicted, and its cells stay behind.
        while not seen or not isinstance(seen[-1], Violated):
            number += 1
            line.send(generate(number, f"{number} is a number " * 8, max_tokens=2))
            for report in reports:
                seen.append(report)
                if isinstance(report, Violated) or ended(report):
                    break
        assert "cells, we say 0" in seen[-1].message
        assert list(reports) == [], "that was its last word"


def ended(report: Report) -> bool:
    return isinstance(report, Step) and any(isinstance(e, Finished) for e in report.events)
