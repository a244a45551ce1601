"""The worker's handle on its media encoder, a process that is started anew when it ends."""

import contextlib
import logging
import math
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from workers.media.messages import (
    Encode,
    Encoded,
    LoadProjector,
    MediumRefused,
    ProjectorFailed,
    ProjectorLoaded,
    Reply,
    Request,
)
from workers.protocol import (
    BAD_MEDIA,
    COMPUTE_FAILED,
    FrameDecoder,
    Medium,
    ProtocolError,
    WorkerSpec,
    children,
    encode,
)
from workers.refused import InputRefused

log = logging.getLogger("forge.worker")

READ_BYTES = 1 << 20
OPENING_S = 600.0
"""A projector that loads for longer will not come."""
LOOK_S = 0.5
"""Seconds between two looks at the CPU time that a medium has taken."""
STANDSTILL = 5
"""A process that does not get to use its CPU time is given up after so many times as long."""


class EncoderFailed(Exception):
    """The projector can't be loaded; the text is one line fit for the operator."""


class _Ended(Exception):
    """The process is gone, or does not answer; the text says what happened."""


def _cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used; 0 where the kernel does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _descriptors(files: Sequence[str]) -> list[int]:
    """Return the descriptors by which a model's files are opened: the process needs them, too."""
    return [int(each.rpartition("/")[2]) for each in files]


class MediaEncoder:
    """Encodes media, one at a time. For any thread."""

    def __init__(self, spec: WorkerSpec) -> None:
        """Starts the process and does not wait. Raises :class:`EncoderFailed`."""
        self._spec = spec
        self._turn = threading.Lock()
        self._opened: ProjectorLoaded | None = None
        self.encoded = 0
        """Media that were encoded, with their rows, since the start."""
        try:
            self._start()
        except OSError as error:
            raise EncoderFailed(f"no process for media: {error.strerror}") from error

    def open(self) -> ProjectorLoaded:
        """Wait until the projector is loaded. Raises :class:`EncoderFailed`."""
        with self._turn:
            try:
                return self._ready()
            except _Ended as error:
                raise EncoderFailed(f"{self._spec.mmproj}: {error}") from error

    def encode(self, medium: Medium, *, rows: bool = True) -> Encoded:
        """Return a medium with its rows, or only its layout.

        Raises :class:`InputRefused`, about the field that it came from.
        """
        with self._turn:
            try:
                self._ready()
                reply = self._ask(Encode(medium.kind, medium.data, rows))
            except (_Ended, EncoderFailed, OSError) as error:
                log.warning("the media encoder is started anew: %s", error)
                self._restart()
                message = f"'{medium.param}': {error}"
                raise InputRefused(COMPUTE_FAILED, message, medium.param) from error
        if isinstance(reply, MediumRefused):
            message = f"'{medium.param}': {reply.reason}"
            raise InputRefused(BAD_MEDIA, message, medium.param)
        assert isinstance(reply, Encoded)
        self.encoded += rows
        return reply

    def close(self) -> None:
        """End the process, whatever it does."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        """Return the process's id."""
        return self._process.pid

    def _ready(self) -> ProjectorLoaded:
        """Return what the process says of its projector. Raises _Ended or EncoderFailed."""
        if self._opened is not None and self._process.poll() is not None:
            self._restart()
        if self._opened is None:
            self._socket.settimeout(LOOK_S)
            reply = self._await(OPENING_S / STANDSTILL, math.inf)
            if isinstance(reply, ProjectorFailed):
                raise EncoderFailed(reply.reason)
            assert isinstance(reply, ProjectorLoaded)
            self._opened = reply
        return self._opened

    def _restart(self) -> None:
        """End the process and start another, which loads meanwhile."""
        self.close()
        with contextlib.suppress(OSError):  # the next medium tries again
            self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        self._socket, self._opened = ours, None
        self._replies: FrameDecoder[Reply] = FrameDecoder(Reply)
        with theirs:
            self._process = subprocess.Popen(
                children.command("workers.media.process"),
                # No other program is found, nor do its threads spin in wait for the engine's cores.
                env={**children.environment(), "PATH": "/nonexistent", "GOMP_SPINCOUNT": "1000"},
                stdin=theirs.fileno(),
                pass_fds=_descriptors(self._spec.files),
                stdout=subprocess.DEVNULL,
            )
        ours.sendall(encode(LoadProjector(self._spec)))

    def _ask(self, request: Request) -> Reply:
        limit = self._spec.media.timeout_s
        self._socket.settimeout(limit * STANDSTILL)
        spent = _cpu_s(self.pid)
        try:
            self._socket.sendall(encode(request))
        except TimeoutError:
            raise _Ended("it did not get to the encoder in time") from None
        except OSError:
            raise _Ended(self._end()) from None
        self._socket.settimeout(min(LOOK_S, limit))
        return self._await(limit, spent + limit * self._spec.threads)

    def _await(self, limit_s: float, cpu_s: float) -> Reply:
        """Return the next reply, which may take the process so much CPU time in all.

        Raises :class:`_Ended`.
        """
        given_up = time.monotonic() + limit_s * STANDSTILL
        while True:
            try:
                data = self._socket.recv(READ_BYTES)
                for reply in self._replies.feed(data):
                    return reply
            except TimeoutError:
                if _cpu_s(self.pid) > cpu_s or time.monotonic() > given_up:
                    raise _Ended(f"it took more than {limit_s:g} s") from None
                continue
            except (OSError, ProtocolError):
                data = b""
            if not data:
                raise _Ended(self._end())

    def _end(self) -> str:
        """Return how the process ended."""
        self._process.kill()
        code = self._process.wait()
        if code >= 0:
            return f"its encoder ended with {code}"
        with contextlib.suppress(ValueError):
            return f"its encoder ended with {signal.Signals(-code).name}"
        return f"its encoder ended with signal {-code}"
