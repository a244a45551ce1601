"""No process of ours outlives the one that started it.

``python -m workers.parent COMMAND ...`` is a command that does not, either.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """On Linux the kernel kills this process with the thread that started it, even a stopped one.

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
