"""The bounds of connections, which all of a server's share."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.responses import Response

from gateway.core.errors import ForgeError

if TYPE_CHECKING:
    from gateway.http.connection import Connection

MAX_URL = 8 * 1024
MAX_HEADERS = 256
MAX_HEAD = 64 * 1024
"""Bytes of a request's head, and of other framing: chunk extensions, trailers."""
MAX_PIPELINED = 256
"""Requests that may wait on one connection: each costs the client 18 bytes, and us kilobytes."""
LINGER_S = 2
"""Seconds for a client to read the reason of a refusal; what it sends meanwhile is dropped."""
MAX_LINGERING = 128
HALF_CLOSED_S = 1
"""Seconds for an answer to a client that has closed its sending half, and may be gone."""
DISCARD_S = 30
"""Time for the rest of a body whose request was answered before all of it was here."""
WARN_EVERY_S = 60

log = logging.getLogger("forge.connection")


@dataclass(slots=True)
class Terms:
    """A server's limits on connections, which all of them share. Times in seconds."""

    header_timeout: float
    idle_timeout: float
    max_connections: int
    respond: Callable[[str, ForgeError], Response]
    """The response for an error, in the shape of the dialect at a path ("" if there is none)."""
    lingering: set["Connection"] = field(default_factory=set)
    warned_at: float = float("-inf")

    def warn(self) -> None:
        """Log that connections are refused, once a minute: a line for each would fill the disk."""
        if time.monotonic() - self.warned_at >= WARN_EVERY_S:
            self.warned_at = time.monotonic()
            log.warning("all %d connections are in use; refusing more", self.max_connections)
