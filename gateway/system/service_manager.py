"""The service manager that started this process, as systemd's protocols have it.

It hears when the server is ready, ends, and lives: datagrams to the socket that NOTIFY_SOCKET
names. It may bring listening sockets along: descriptors from 3 on, as many as LISTEN_FDS says. The
variables are taken out of the environment, so that no child takes them for its own.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import MutableMapping

from gateway.system.log_setup import escaped

FIRST_DESCRIPTOR = 3
MOST_DESCRIPTORS = 64
VARIABLES = (
    "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
)  # fmt: skip

SHORTEST_S = 0.005
"""Seconds between two signs of life, however little time is allowed."""
PATIENCE_S = 1.0
"""Seconds that a full queue of the manager may keep the event loop, for what it must not miss."""

log = logging.getLogger("forge.service")


class ServiceManager:
    """One that may be there or not: without it everything here does nothing."""

    def __init__(
        self, address: str = "", watchdog_s: float | None = None, descriptors: int = 0
    ) -> None:
        """``address``: of its socket; one that begins with @ is in Linux's abstract namespace."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self.descriptors = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + descriptors)
        """The sockets that it has opened, by their numbers."""

    @classmethod
    def taken_from(cls, environment: MutableMapping[str, str] = os.environ) -> "ServiceManager":
        """Return the manager that the environment names, and take its variables out."""
        found = {name: environment.pop(name, "") for name in VARIABLES}
        pid = str(os.getpid())
        watched = found["WATCHDOG_USEC"].isdecimal() and found["WATCHDOG_PID"] in ("", pid)
        watchdog_us = int(found["WATCHDOG_USEC"][:18]) if watched else 0
        listed = found["LISTEN_FDS"].isdecimal() and found["LISTEN_PID"] == pid
        count = min(int(found["LISTEN_FDS"][:9]), MOST_DESCRIPTORS) if listed else 0
        return cls(found["NOTIFY_SOCKET"], watchdog_us / 1e6 or None, count)

    def ready(self, status: str) -> None:
        """Tell that requests are served from now on."""
        self._tell("READY=1", f"STATUS={escaped(status)}", patience_s=PATIENCE_S)

    def reloading(self, status: str) -> None:
        """Tell that a reload has begun; :meth:`ready` tells its end."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell(
            "RELOADING=1",
            f"MONOTONIC_USEC={now_us}",
            f"STATUS={escaped(status)}",
            patience_s=PATIENCE_S,
        )

    def status(self, status: str) -> None:
        """Tell what the server does, for people."""
        self._tell(f"STATUS={escaped(status)}")

    def stopping(self, status: str) -> None:
        """Tell that the end has begun."""
        self._tell("STOPPING=1", f"STATUS={escaped(status)}", patience_s=PATIENCE_S)

    async def keep_alive(self) -> None:
        """Tell again and again that this event loop runs, twice in the time that is allowed.

        For ever, or not at all if no life is expected.
        """
        while self._watchdog_s is not None:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(max(self._watchdog_s / 2, SHORTEST_S))

    def _tell(self, *lines: str, patience_s: float = 0.0) -> None:
        """Send one datagram. A manager that does not read for ``patience_s`` misses it."""
        if not self._address:
            return
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sock:
            sock.settimeout(patience_s)
            try:
                sock.sendto("\n".join(lines).encode(), self._address)
            except OSError as error:
                log.warning("the service manager does not hear: %s", error.strerror or error)
