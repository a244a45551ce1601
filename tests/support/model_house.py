"""Models of a load policy that load at once, and a clock that the test turns."""

from dataclasses import replace

from gateway.core.clock import NANO
from gateway.served.load_policy import Decision, Facts, LoadPolicy


class House:
    """Models that load in a second, and a clock."""

    def __init__(self, budget: int, **needs: int) -> None:
        keep = 300 * NANO
        self.policy = LoadPolicy(budget, {name: (need, keep) for name, need in needs.items()})
        self.facts = dict.fromkeys(needs, Facts())
        self.now = 0
        self.loads: list[str] = []
        self.unloads: list[tuple[str, str]] = []

    def set(self, name: str, **changes: int | bool | None) -> None:
        self.facts[name] = replace(self.facts[name], **changes)  # type: ignore[arg-type]

    def decide(self, *, takes: float = 0.0) -> Decision:
        """Return what is begun; it is all done ``takes`` seconds later."""
        decision = self.policy.decide(self.now, self.facts)
        self.now += round(takes * NANO)
        for name, reason in decision.unload:
            self.policy.unloaded(name)
            self.unloads.append((name, reason))
        for name in decision.load:
            self.policy.loaded(name, self.now)
            self.loads.append(name)
        return decision

    def settle(self) -> Decision:
        """Decide until nothing is begun any more."""
        while (decision := self.decide()).load or decision.unload:
            pass
        return decision
