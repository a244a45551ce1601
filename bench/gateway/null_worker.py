"""A worker that computes nothing: a real process, real frames, and tokens at a set pace."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections import deque
from dataclasses import dataclass

from workers.parent import die_with_parent
from workers.protocol import (
    Ask,
    Cancel,
    Delta,
    Event,
    Finished,
    FrameDecoder,
    Generate,
    Heartbeat,
    Load,
    LoadAdapter,
    ModelInfo,
    Park,
    Parked,
    Ready,
    Started,
    Step,
    ToWorker,
    UnloadAdapter,
    WorkerSpec,
    encode,
)

WIDTH = 64
"""Streams that share a step, and so a frame, at most: as many as a real worker may well have."""
TOKEN, PIECE = 7, " word"
PROMPT_TOKENS = 60
READ_BYTES = 1 << 18
MODEL = ModelInfo(
    name="null", description="computes nothing", n_params=0, size_bytes=0, n_vocab=1000,
    n_ctx_train=1 << 20, n_ctx=1 << 20, n_ctx_seq=1 << 20, longest_piece=16,
    n_embd=1, embeds=False,
)  # fmt: skip


@dataclass(slots=True)
class _Generation:
    """One that still has tokens to give."""

    id: int
    attempt: int
    left: int
    due: float


class NullWorker:
    """Says of each generation at once that it started, then a token at each beat of its pace."""

    def __init__(self, sock: socket.socket, pace_s: float) -> None:
        """``pace_s``: seconds between two tokens of a generation; 0: as fast as they are read."""
        self._sock = sock
        self._pace_s = pace_s
        self._decoder: FrameDecoder[ToWorker] = FrameDecoder(ToWorker)
        self._running: dict[int, _Generation] = {}
        self._line: deque[_Generation] = deque()
        """By when they are due; those that were cancelled or parked are skipped."""
        self._events: list[Event] = []
        self._steps = self._tokens = 0

    def run(self, beat_s: float) -> None:
        """Serve until the gateway hangs up."""
        readable = select.poll()
        readable.register(self._sock, select.POLLIN)
        beat_due = time.monotonic() + beat_s
        while True:
            now = time.monotonic()
            if now >= beat_due:
                self._sock.sendall(encode(Heartbeat()))
                beat_due = now + beat_s
            due = min(beat_due, self._line[0].due) if self._line else beat_due
            if readable.poll(max(0.0, due - now) * 1000):
                data = self._sock.recv(READ_BYTES)
                if not data:
                    return
                for message in self._decoder.feed(data):
                    self._take(message)
            self._step(time.monotonic())

    def _take(self, message: ToWorker) -> None:
        if isinstance(message, Ask | LoadAdapter | UnloadAdapter):
            raise NotImplementedError("a worker without tokens or weights was asked about them")
        if isinstance(message, Generate):
            self._begin(message)
        elif (found := self._running.pop(message.id, None)) is not None:
            if isinstance(message, Cancel):
                self._events.append(Finished(found.id, found.attempt, "cancelled", [], ""))
            elif isinstance(message, Park):
                self._events.append(Parked(found.id, found.attempt))

    def _begin(self, request: Generate) -> None:
        left = (request.params.max_tokens or 1) - len(request.resume)
        found = _Generation(request.id, request.attempt, left, time.monotonic())
        self._events.append(Started(found.id, found.attempt, PROMPT_TOKENS, 0))
        self._running[found.id] = found
        self._line.append(found)

    def _step(self, now: float) -> None:
        """One frame, if there is anything to say."""
        for _ in range(WIDTH):
            if not self._line or self._line[0].due > now:
                break
            found = self._line.popleft()
            if self._running.get(found.id) is found:
                self._advance(found, now)
        if self._events:
            self._steps += 1
            load = Load(steps=self._steps, decode_tokens=self._tokens, running=len(self._running))
            self._sock.sendall(encode(Step(self._events, load)))
            self._events.clear()

    def _advance(self, found: _Generation, now: float) -> None:
        self._tokens += 1
        found.left -= 1
        if found.left > 0:
            self._events.append(Delta(found.id, found.attempt, [TOKEN], PIECE))
            found.due = now + self._pace_s
            self._line.append(found)
        else:
            del self._running[found.id]
            self._events.append(Finished(found.id, found.attempt, "length", [TOKEN], PIECE))


def main(sock: socket.socket, spec: WorkerSpec, *, slots: int, pace_s: float) -> None:
    """Serve on ``sock``, taking ``slots`` generations at once."""
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sock.sendall(encode(Ready(os.getpid(), slots, MODEL)))
    NullWorker(sock, pace_s).run(spec.heartbeat_s)
