"""Types of options whose values are texts with a form of their own. Pure."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from gateway.core import loopback

MOST_PATTERNS = 64
"""Of --redact; each is searched for in each body."""


def _sendable(secret: SecretStr) -> SecretStr:
    """A secret must survive a header; an empty one is a mistake, not an open door."""
    if not re.fullmatch(r"[!-~]+", secret.get_secret_value()):
        raise ValueError("must be visible ASCII characters without spaces, one at least")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_sendable)]
"""An API key. Its repr does not show it, and no error about it may."""


def _postgres(url: SecretStr) -> SecretStr:
    if not re.fullmatch(r"postgres(ql)?://[^\x00-\x20\x7f]*", url.get_secret_value()):
        raise ValueError("must be a URL like postgresql://user:password@host:5432/name")
    return url


DatabaseUrl = Annotated[SecretStr, AfterValidator(_postgres)]
"""A URL that may have a password, so its repr does not show it."""


def _cluster(address: str) -> str:
    if address.startswith("ray://"):
        raise ValueError(
            "must be auto or HOST:PORT: a server that is outside the cluster and comes in by "
            "ray:// would lose all workers with that connection"
        )
    if not re.fullmatch(r"auto|(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}", address):
        raise ValueError("must be auto or HOST:PORT")
    return address


ClusterAddress = Annotated[str, AfterValidator(_cluster)]
"""Of a Ray cluster's control service."""


def _duration(value: Any) -> Any:
    """5m and forever, as people write them; what is no duration is left as it is."""
    if value == "forever":
        return -1
    parts = re.fullmatch(r"(\d{1,9})([smh])", value) if isinstance(value, str) else None
    return value if parts is None else int(parts[1]) * {"s": 1, "m": 60, "h": 3600}[parts[2]]


KeepAlive = Annotated[float, BeforeValidator(_duration), Field(ge=-1, le=1e9, allow_inf_nan=False)]
"""Seconds; any negative number is for ever."""


def patterns(value: Any) -> tuple[str, ...]:
    """Return regular expressions, of which a text has one in each line. Raises ValueError."""
    parts = value.splitlines() if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("expected patterns")
    found = tuple(part for part in parts if part)
    if len(found) > MOST_PATTERNS:
        raise ValueError(f"expected {MOST_PATTERNS} patterns at most")
    return found


def origins(value: Any) -> tuple[str, ...]:
    """Return web origins as browsers send them; one string may hold several. Raises ValueError."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("expected origins")
    return tuple(_origin(part.strip()) for part in parts)


def _origin(text: str) -> str:
    """``scheme://host[:port]`` in lower case and without the scheme's own port, or a word."""
    if text in ("*", loopback.NAME):
        return text
    host = r"[a-z0-9._-]+|\[[0-9a-f:.]+\]"
    parts = re.fullmatch(rf"([a-z][a-z0-9+.-]*)://({host})(?::([0-9]{{1,5}}))?", text.lower())
    if parts is None:
        raise ValueError(
            "expected '*', localhost or origins like https://example.com:8443, without a path"
        )
    scheme, name, port = parts.groups()
    if port is None or {"http": "80", "https": "443"}.get(scheme) == port:
        return f"{scheme}://{name}"
    return f"{scheme}://{name}:{port}"
