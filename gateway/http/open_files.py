"""The system's limit on open files, which also limits connections."""

import contextlib
import logging
import resource
from typing import Literal

AUTO_CONNECTIONS = 16384
RESERVED = 256
"""Descriptors for everything else: workers, listeners, logs, and clients that are being refused."""

log = logging.getLogger("forge.descriptors")


def connections_allowed(wanted: int | Literal["auto"]) -> int:
    """Return how many connections there may be: ``wanted``, or less if the system allows no more.

    Raises the soft limit of this process (which its workers inherit) as far as needed.
    """
    most = AUTO_CONNECTIONS if wanted == "auto" else wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = most + RESERVED
    if soft != resource.RLIM_INFINITY and soft < needed:
        goal = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        # macOS may call its limit infinite, and yet refuse more than another limit of it.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (goal, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = most if soft == resource.RLIM_INFINITY else min(most, fitting(soft))
    if allowed < most and wanted != "auto":
        log.warning(
            "--max-connections is %d, but the limit on open files (ulimit -n) is %d: "
            "no more than %d connections are taken",
            most, soft, allowed,
        )  # fmt: skip
    return allowed


def fitting(files: int) -> int:
    """Return the connections that fit a limit of ``files`` open files, half of it at least."""
    return max(files - RESERVED, files // 2, 1)
