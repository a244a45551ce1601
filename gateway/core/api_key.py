"""An API key: its name and its rights. Pure."""

import math
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

CaptureMode = Literal["off", "header", "always"]
"""Requests that are kept with their answers: none, those that ask for it in a header, all."""


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
    max_stored_bytes: int | None = None
    """Of files that it keeps; None: as many as the server allows each key."""
    cache_group: str | None = None
    """Keys of one group share what is computed of their prompts; None: this key shares nothing."""
    admin: bool = False
    """True: it may manage models and keys, and see the usage of all."""
    models: tuple[str, ...] | None = None
    """The only models that it may use, by their own names or patterns of those; None: all."""
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    """Budgets of a day and of a calendar month in UTC; None: none."""

    capture: CaptureMode | None = None
    """None: as the server's --capture says."""

    def may_use(self, model: str) -> bool:
        """Tell if the model of this name is there for the key."""
        return self.models is None or any(fnmatchcase(model, each) for each in self.models)


ANYONE = ApiKey("", b"")
"""The client of a server that has no keys."""
