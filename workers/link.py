"""The worker's end of the link: a reader thread that fills the inbox, and a frame writer."""

import os
import socket
import threading

import msgspec

from workers.engine import Inbox
from workers.protocol import (
    Cancel,
    Failed,
    FrameDecoder,
    Generate,
    Park,
    ProtocolError,
    Step,
    ToWorker,
    encode,
)
from workers.sequence import Preparer, Refused

READ_BYTES = 1 << 16


class Link:
    """One connected stream socket to the gateway."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._write = threading.Lock()

    def send(self, message: msgspec.Struct) -> None:
        """Write one frame, from any thread. Ends the process if the gateway is gone."""
        frame = encode(message)
        with self._write:
            try:
                self._sock.sendall(frame)
            except OSError:
                os._exit(0)

    def serve(self, inbox: Inbox, preparer: Preparer) -> None:
        """Read for ever, in a thread of its own; end the process when the gateway goes away.

        Templates and tokenising run here: ctypes calls release the GIL, so prompts are prepared
        while the engine decodes, and a prompt that can't be served is refused before it costs a
        slot or a step.
        """
        self._read(inbox, preparer)
        # The gateway is gone. No clean-up: the engine may be in the middle of a long llama_decode.
        os._exit(0)

    def _read(self, inbox: Inbox, preparer: Preparer) -> None:
        decoder: FrameDecoder[Generate | Cancel | Park] = FrameDecoder(ToWorker)
        while data := self._receive():
            try:
                for message in decoder.feed(data):
                    self._deliver(message, inbox, preparer)
            except ProtocolError:
                return

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(READ_BYTES)
        except OSError:
            return b""

    def _deliver(self, message: ToWorker, inbox: Inbox, preparer: Preparer) -> None:
        if not isinstance(message, Generate):
            inbox.put(message)
            return
        try:
            inbox.put(preparer.prepare(message))
        except Refused as refused:
            failed = Failed(message.id, message.attempt, refused.code, str(refused))
            self.send(Step([failed], None))
