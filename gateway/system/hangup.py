"""The meaning of SIGHUP: "read your options again" from an operator, "I am gone" from a terminal.

A server that was started in a terminal ends when that is closed, as other programs do; one that was
told to outlive it (``nohup``) ignores its end. Everywhere else the signal asks for a reload.
"""

import os
import signal
from typing import Literal

TERMINAL = "/dev/tty"


class Hangup:
    """Knows how the process was started."""

    def __init__(self, terminal: str = TERMINAL) -> None:
        """To be made at the start; from then on the signal ends nothing."""
        self._terminal = terminal
        self._had_terminal = self._there()
        self._outlives = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        # Until the server has a handler, one that comes is late or early, and no reason to end.
        signal.signal(signal.SIGHUP, lambda *_: None)

    def meaning(self) -> Literal["reload", "end", "nothing"]:
        """Return what a signal means that came just now."""
        if not self._had_terminal or self._there():
            return "reload"
        return "nothing" if self._outlives else "end"

    def _there(self) -> bool:
        """Return whether the process has a terminal: one that was closed can't be opened."""
        try:
            os.close(os.open(self._terminal, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
        except OSError:
            return False
        return True
