"""One model of a load policy: its work, its state, and the time for which clients keep it. Pure."""

from dataclasses import dataclass
from typing import Literal

State = Literal["unloaded", "loading", "loaded", "unloading", "failed"]
Reason = Literal["idle", "memory", "yielded", "asked"]

FOREVER_NS = 1 << 62
"""The keep_alive of a model that is unloaded only for others."""
MOST_LEASES = 1024
"""Clients of a model that are told apart; of those before them only the longest time counts."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Work of one model."""

    first: int | None = None
    """The key of the first request that waits for it; None: none waits."""
    running: bool = False
    """True if anything is computed."""
    held: bool = False
    """True if a paused request counts on it: its keep_alive does not run then."""
    spare_waits: bool = False
    """True if spare work waits for it."""
    spare_runs: bool = False
    """True if all that is computed is spare."""
    cramped: bool = False
    """True if its load waits for a place on a node of a cluster."""

    @property
    def used(self) -> bool:
        """Return whether it has work that is not spare."""
        return self.first is not None or self.held or (self.running and not self.spare_runs)

    @property
    def spare(self) -> bool:
        """Return whether it has spare work."""
        return self.spare_waits or self.spare_runs


class ModelRecord:
    """State of one model."""

    def __init__(self, need: int | None, keep_alive_ns: int | None) -> None:
        self.need = need or 0
        self.measured: bool | None = need is not None
        """None: it is being measured."""
        self.keep_alive_ns = keep_alive_ns
        self.state: State = "unloaded"
        self.leaves = False
        """True if its unloading was asked for."""
        self.pinned = False
        """True while its workers are replaced: it is not unloaded then."""
        self.began_ns = 0
        """Time at which its loading began."""
        self.took_ns = 0
        """Time that its loading took."""
        self.stays_until_ns = 0
        self.worked = False
        """True if it had work at the last look, spare work apart."""
        self.used_ns = 0
        """Time at which it last had such work."""
        self.for_spare = False
        """True if it was loaded for spare work, which is no use."""
        self.spare_ns: int | None = None
        """Time at which it last had spare work since it was loaded."""
        self.leases: dict[str, int] = {}
        """End of the time for which each client's last request keeps it, the oldest use first."""
        self.earlier_ns = 0
        """End of the time of clients that are not told apart any more."""
        self.retry_ns = 0
        self.failures = 0
        """Loads that failed in a row."""

    @property
    def due_ns(self) -> int | None:
        """The time at which it is unloaded, if it has no work until then; None: none."""
        if self.keep_alive_ns is None:
            return None
        if not self.leases:
            return self.used_ns + self.keep_alive_ns
        return max(self.earlier_ns, *self.leases.values())

    @property
    def takes(self) -> int:
        """Bytes that it takes now, or may take."""
        return self.need if self.state in ("loading", "loaded", "unloading") else 0

    def lease(self, client: str, until_ns: int) -> None:
        """Keep it for a client until then, in the place of that client's last word."""
        self.leases.pop(client, None)
        self.leases[client] = until_ns
        if len(self.leases) > MOST_LEASES:
            self.earlier_ns = max(self.earlier_ns, self.leases.pop(next(iter(self.leases))))

    def end_leases(self) -> None:
        """Forget what clients wanted: it is not loaded any more."""
        self.leases.clear()
        self.earlier_ns = 0
