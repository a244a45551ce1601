"""The hosts from which media are fetched, as the operator names them. Pure.

cdn.example.com           this host at port 443
cdn.example.com:8443      at this port
*.example.com             all hosts below it, not itself
"""

import re
from typing import Any, NamedTuple

PORT = 443
MOST = 256
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,62})"
_HOST = re.compile(rf"(\*\.)?({_LABEL}(?:\.{_LABEL})*)(?::([0-9]{{1,5}}))?", re.IGNORECASE)


class MediaHost(NamedTuple):
    """A host, or all below one."""

    name: str
    port: int = PORT
    below: bool = False

    def has(self, name: str, port: int) -> bool:
        """Return whether it is that host."""
        if port != self.port:
            return False
        return name.endswith(f".{self.name}") if self.below else name == self.name


def media_hosts(value: Any) -> tuple[MediaHost, ...]:
    """Return the hosts of a text with commas, or of a list of texts. Raises ValueError."""
    if isinstance(value, tuple) and all(isinstance(each, MediaHost) for each in value):
        return value
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("expected hosts")
    found = tuple(_host(part.strip()) for part in parts if part.strip())
    if len(found) > MOST:
        raise ValueError(f"expected {MOST} hosts at most")
    return found


def _host(text: str) -> MediaHost:
    found = _HOST.fullmatch(text)
    if found is None or len(text) > 253:
        raise ValueError("expected HOST, HOST:PORT or *.HOST, such as images.example.com")
    port = int(found[3] or PORT)
    if not 0 < port < 65536:
        raise ValueError("expected a port from 1 to 65535")
    return MediaHost(found[2].lower(), port, found[1] is not None)
