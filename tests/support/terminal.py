"""``forge run`` and ``forge chat`` as their users have them: pipes, and a real terminal."""

import io
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pexpect

from tests.support.server import DEADLINE_S, environment

FORGE = [sys.executable, "-m", "gateway.cli"]
LONG = "Tell me a very long story."
READY = ">>>"


def forge(
    *arguments: str, given: bytes = b"", env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """A command that ends by itself; ``given``: what comes on stdin."""
    return subprocess.run(
        [*FORGE, *arguments],
        input=given,
        capture_output=True,
        timeout=DEADLINE_S,
        env=environment(env),
    )


def interruptible() -> None:
    """Shells start what is in the background without Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def occupied() -> bool:
    """Return whether the usual port of this machine is taken."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", 8080)) == 0


class Terminal:
    """``forge chat`` in a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.shown = io.StringIO()
        env = environment(
            {"XDG_STATE_HOME": str(folder), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        )
        self.child: pexpect.spawn[str] = pexpect.spawn(
            FORGE[0],
            [*FORGE[1:], "chat", *arguments],
            env=env,
            encoding="utf-8",
            timeout=DEADLINE_S,
            dimensions=(50, 200),
            preexec_fn=interruptible,
            logfile=self.shown,
        )

    def expect(self, pattern: str) -> str:
        """Wait until it is shown; what was shown before it."""
        self.child.expect(pattern)
        return str(self.child.before)

    def type(self, line: str) -> None:
        """A line, as soon as it asks for one."""
        self.child.expect(READY)
        self.child.send(line + "\r")

    def leave(self) -> int:
        """Ctrl-D; the exit code."""
        self.child.expect(READY)
        self.child.sendeof()
        self.child.expect(pexpect.EOF)
        self.child.close()
        assert self.child.exitstatus is not None, self.shown.getvalue()
        return int(self.child.exitstatus)
