"""An API key: its name and its rights. Pure."""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The rights of the holder of one secret."""

    name: str
    digest: bytes = field(repr=False)
    """SHA-256 of the secret."""
    max_priority: float = math.inf
    weight: float = 1.0
    """Share of the server among the keys that want it at the same time."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """None: no limit."""
    cache_group: str | None = None
    """Keys of one group share what is computed of their prompts; None: this key shares nothing."""


ANYONE = ApiKey("", b"")
"""The client of a server that has no keys."""
