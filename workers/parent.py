"""Processes that do not outlive their parents.

``python -m workers.parent COMMAND ...`` runs a command in such a process.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel (Linux) kill this process, even if stopped, with the thread that started it.

    Elsewhere EOF on the socket to the parent must do, which a stopped process sees when it goes on.
    """
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(0)


if __name__ == "__main__":
    die_with_parent()
    os.execvp(sys.argv[1], sys.argv[1:])  # the kernel goes on minding it
