"""The worker's end of the link: frames in, frames out.

Up to eight threads use it. One waits for bytes, and the engine's own reads between two steps what
lies in
the socket: a cancellation must not wait until a waiting thread gets a core. Two prepare prompts and
two answer questions, of which one each takes what is long: a prompt of a megabyte can take seconds,
and the short ones of others don't wait for it. Where the model takes media, one more each is for
prompts with pictures or sound, which may have to be encoded first.
"""

import logging
import os
import queue
import select
import socket
import threading
import time
from collections import Counter
from typing import Generic, Literal, Protocol, TypeVar

import msgspec

from workers.engine.embedder import Input
from workers.engine.engine import Inbox
from workers.engine.sequence import EngineSequence
from workers.protocol import (
    COMPUTE_FAILED,
    Ask,
    Cancel,
    Chat,
    Failed,
    FrameDecoder,
    Generate,
    Heartbeat,
    LoadAdapter,
    Park,
    ProtocolError,
    Step,
    ToWorker,
    UnloadAdapter,
    encode,
)
from workers.refused import InputRefused
from workers.token_service import TokenService

log = logging.getLogger("forge.worker")

READ_BYTES = 1 << 18
"""The usual capacity of a socketpair."""
LONG_BYTES = 1 << 16
"""The size of a message from which on it is long: up to there a prompt takes some 0.1 s."""

Lane = Literal["short", "long", "media"]

T = TypeVar("T")


class Preparer(Protocol):
    """Turns a request into what the engine takes."""

    def prepare(self, request: Generate) -> EngineSequence | Input:
        """Raises :class:`InputRefused`."""
        ...


class _Lanes(Generic[T]):
    """Queues, so that the short does not wait for the long, nor either for media."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, queue.SimpleQueue[T]] = {
            "short": queue.SimpleQueue(),
            "long": queue.SimpleQueue(),
            "media": queue.SimpleQueue(),
        }

    def of(self, lane: Lane) -> queue.SimpleQueue[T]:
        return self._lanes[lane]


class Link:
    """One connected stream socket to the gateway."""

    def __init__(self, sock: socket.socket, inbox: Inbox, *, media: bool = False) -> None:
        """``inbox``: the queue from which the engine takes messages.

        ``media``: there are threads for what has media.
        """
        self._sock = sock
        self._inbox = inbox
        self._media = media
        self._write = threading.Lock()
        self._read = threading.Lock()
        self._decoder: FrameDecoder[ToWorker] = FrameDecoder(ToWorker)
        self._questions: _Lanes[Ask] = _Lanes()
        self._unprepared: _Lanes[Generate | Cancel | Park] = _Lanes()
        self._behind: Counter[int] = Counter()
        """Messages in ``_unprepared`` by generation; those of one generation must stay in order."""
        self._lane: dict[int, queue.SimpleQueue[Generate | Cancel | Park]] = {}
        """Queue in which the messages of each generation are."""
        self._given_up: Counter[int] = Counter()
        """Cancellations in ``_unprepared`` by generation."""

    def send(self, message: msgspec.Struct) -> None:
        """Write one frame, from any thread. Ends the process if the gateway is gone."""
        frame = encode(message)
        with self._write:
            try:
                self._sock.sendall(frame)
            except OSError:
                os._exit(0)

    def serve(self, heartbeat_s: float) -> None:
        """Read for ever, in a thread of its own; end the process when the gateway goes away.

        Every ``heartbeat_s`` seconds it sends a heartbeat.
        """
        readable = select.poll()
        readable.register(self._sock, select.POLLIN)
        due = time.monotonic() + heartbeat_s
        while True:
            if readable.poll(max(0, due - time.monotonic()) * 1000):
                self.receive()
            if time.monotonic() >= due:
                self.send(Heartbeat())
                due = time.monotonic() + heartbeat_s

    def receive(self) -> None:
        """Read what the socket holds, if anything; from any thread.

        The gateway may be gone. Then there is no clean-up: the engine may be in the middle of a
        long llama_decode.
        """
        if not self._take():
            os._exit(0)

    def _take(self) -> bool:
        """Return whether the gateway is still there, and speaks our protocol."""
        with self._read:
            try:
                data = self._sock.recv(READ_BYTES, socket.MSG_DONTWAIT)
                for message in self._decoder.feed(data):
                    self._sort(message, long=self._decoder.size >= LONG_BYTES)
            except BlockingIOError:
                return True
            except (OSError, ProtocolError):
                return False
        return bool(data)

    def _sort(self, message: ToWorker, *, long: bool) -> None:
        """Queue a message; those without preparation overtake prompts that wait for theirs."""
        lane = self._lane_of(message, long=long)
        if isinstance(message, Ask):
            self._questions.of(lane).put(message)
        elif isinstance(message, LoadAdapter | UnloadAdapter):
            self._inbox.put(message)
        elif isinstance(message, Generate) or message.id in self._behind:
            self._behind[message.id] += 1
            if isinstance(message, Cancel):
                self._given_up[message.id] += 1
            self._lane.setdefault(message.id, self._unprepared.of(lane)).put(message)
        else:
            self._inbox.put(message)

    def _lane_of(self, message: ToWorker, *, long: bool) -> Lane:
        asked = message.question if isinstance(message, Ask) else message
        chat = getattr(asked, "prompt", None) or getattr(asked, "chat", None)
        if self._media and isinstance(chat, Chat) and chat.media:
            return "media"
        return "long" if long else "short"

    def answer(self, token_service: TokenService, lane: Lane = "short") -> None:
        """Answer the questions of one kind for ever, in a thread of its own."""
        questions = self._questions.of(lane)
        while True:
            self.send(token_service.answer(questions.get()))

    def prepare(self, preparer: Preparer, lane: Lane = "short") -> None:
        """Prepare the prompts of one kind for ever, in a thread of its own.

        Tokenising runs here and templates in a process of their own: both without the GIL, so the
        engine decodes meanwhile. A prompt that can't be served is refused before it costs a slot or
        a step.
        """
        unprepared = self._unprepared.of(lane)
        while True:
            self._prepare(unprepared.get(), preparer)

    def _prepare(self, message: Generate | Cancel | Park, preparer: Preparer) -> None:
        ready = self._sequence(message, preparer) if isinstance(message, Generate) else message
        with self._read:
            if isinstance(message, Cancel):
                self._given_up -= Counter({message.id: 1})
            # A refused generation may have been parked here, and will not come again.
            self._inbox.put(ready or Cancel(message.id))
            self._behind[message.id] -= 1
            if not self._behind[message.id]:
                del self._behind[message.id], self._lane[message.id]

    def _sequence(self, request: Generate, preparer: Preparer) -> EngineSequence | Input | None:
        """Prepare a prompt; if it can't be served, tell the gateway and return None."""
        if request.trace is not None:
            # As gateway.system.log_setup.fields() has it, which the gateway gives the process.
            parent = request.trace.traceparent
            ids = {"trace_id": parent[3:35], "span_id": parent[36:52], "trace_flags": parent[53:]}
            named = {"generation": request.id, "attempt": request.attempt}
            log.info("takes a traced generation", extra={"fields": {**named, **ids}})
        try:
            if self._given_up[request.id] and self._lane_of(request, long=False) == "media":
                raise InputRefused(COMPUTE_FAILED, "it was given up before it was prepared")
            return preparer.prepare(request)
        except InputRefused as refused:
            failed = Failed(
                request.id,
                request.attempt,
                refused.code,
                str(refused),
                refused.param,
                refused.overflow,
            )
            self.send(Step([failed], None))
            return None
