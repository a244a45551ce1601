"""A model of the configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.config.config import Config


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """The settings that one model is served with."""

    config: Config
    """The server's, with what is said of this model alone."""
    preload: bool = False
    """True if it is loaded at the start, or by the first request for it."""
    keep_alive: float | None = None
    """Seconds without work after which it is unloaded; None: never."""
    system: str | None = None
    """The system prompt of conversations that have none."""
    aliases: Sequence[str] = ()
    """Other names that clients may give it, and patterns of such."""

    @property
    def name(self) -> str:
        """Return the name that clients give it."""
        return self.config.model_name

    @property
    def sampling(self) -> Mapping[str, Any]:
        """Return the fields of requests that do not say them."""
        return self.config.sampling
