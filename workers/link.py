"""The worker's end of the link: frames in, frames out.

Four threads use it. One waits for bytes, one prepares prompts, one answers questions, and the
engine's own reads between two steps what lies in the socket: a cancellation must not wait until a
waiting thread gets a core.
"""

import os
import queue
import select
import socket
import threading
import time
from collections import Counter

import msgspec

from workers.engine.embedder import Input
from workers.engine.engine import Inbox
from workers.engine.sequence import EngineSequence
from workers.input_processor import InputProcessor, InputRefused
from workers.protocol import (
    Ask,
    Cancel,
    Failed,
    FrameDecoder,
    Generate,
    Heartbeat,
    Park,
    ProtocolError,
    Step,
    ToWorker,
    encode,
)
from workers.token_service import TokenService

READ_BYTES = 1 << 18
"""The usual capacity of a socketpair."""


class Link:
    """One connected stream socket to the gateway."""

    def __init__(self, sock: socket.socket, inbox: Inbox) -> None:
        """``inbox``: the queue from which the engine takes messages."""
        self._sock = sock
        self._inbox = inbox
        self._write = threading.Lock()
        self._read = threading.Lock()
        self._decoder: FrameDecoder[ToWorker] = FrameDecoder(ToWorker)
        self._questions: queue.SimpleQueue[Ask] = queue.SimpleQueue()
        self._unprepared: queue.SimpleQueue[Generate | Cancel | Park] = queue.SimpleQueue()
        self._behind: Counter[int] = Counter()
        """Messages in ``_unprepared`` by generation; those of one generation must stay in order."""

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
                    self._sort(message)
            except BlockingIOError:
                return True
            except (OSError, ProtocolError):
                return False
        return bool(data)

    def _sort(self, message: ToWorker) -> None:
        """Queue a message; those without preparation overtake prompts that wait for theirs."""
        if isinstance(message, Ask):
            self._questions.put(message)
        elif isinstance(message, Generate) or message.id in self._behind:
            self._behind[message.id] += 1
            self._unprepared.put(message)
        else:
            self._inbox.put(message)

    def answer(self, token_service: TokenService) -> None:
        """Answer questions for ever, in a thread of its own."""
        while True:
            self.send(token_service.answer(self._questions.get()))

    def prepare(self, input_processor: InputProcessor) -> None:
        """Prepare prompts for ever, in a thread of its own.

        Tokenising runs here and templates in a process of their own: both without the GIL, so the
        engine decodes meanwhile. A prompt that can't be served is refused before it costs a slot or
        a step.
        """
        while True:
            self._prepare(self._unprepared.get(), input_processor)

    def _prepare(self, message: Generate | Cancel | Park, input_processor: InputProcessor) -> None:
        ready = (
            self._sequence(message, input_processor) if isinstance(message, Generate) else message
        )
        with self._read:
            # A refused generation may have been parked here, and will not come again.
            self._inbox.put(ready or Cancel(message.id))
            self._behind[message.id] -= 1
            if not self._behind[message.id]:
                del self._behind[message.id]

    def _sequence(
        self, request: Generate, input_processor: InputProcessor
    ) -> EngineSequence | Input | None:
        """Prepare a prompt; if it can't be served, tell the gateway and return None."""
        try:
            return input_processor.prepare(request)
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
