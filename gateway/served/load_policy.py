"""Which models are in memory, and which make room. Pure: the clock is an argument.

A model is wanted when somebody waits for it. If the budget has no room for it, models without work
are unloaded, the one that was used least recently first. If all have work, the heap's own order
decides: a model whose first in line comes after the wanting one's takes nothing new, and is
unloaded when what it runs has ended. Keys are fixed at arrival, so whoever waits for a model comes
first sooner or later, however busy the others are: nobody starves. So that two busy models do not
spend their time with loading, one that was loaded stays for some multiple of what that took.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.core.clock import NANO

State = Literal["unloaded", "loading", "loaded", "unloading", "failed"]
Reason = Literal["idle", "memory", "yielded", "asked"]

STAY = 3
"""A loaded model stays for so many times as long as it took to load, before it must yield."""
RETRY_FIRST_NS, RETRY_MAX_NS = NANO, 60 * NANO
"""How long nobody tries again to load what could not be loaded; it doubles each time."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a model has to do."""

    first: int | None = None
    """The key of who is first in line for it; None: nobody waits."""
    running: bool = False
    """Whether anything is computed."""
    held: bool = False
    """Whether somebody counts on it without waiting for a slot: it has no keep_alive then."""


@dataclass(slots=True)
class Decision:
    """What is to be done now. Models in no list go on as they are."""

    load: list[str] = field(default_factory=list)
    unload: list[tuple[str, Reason]] = field(default_factory=list)
    yields: set[str] = field(default_factory=set)
    """Models that give no more slots."""
    wake_ns: int | None = None
    """When to decide again, if nothing happens before."""

    def wake(self, at_ns: int) -> None:
        """Decide again then, at the latest."""
        self.wake_ns = at_ns if self.wake_ns is None else min(self.wake_ns, at_ns)


class _Model:
    """What is remembered of one."""

    def __init__(self, need: int, keep_alive_ns: int | None) -> None:
        self.need = need
        self.keep_alive_ns = keep_alive_ns
        self.state: State = "unloaded"
        self.leaves = False
        """Whether it was told to go."""
        self.began_ns = 0
        """When its loading began."""
        self.stays_until_ns = 0
        self.worked = False
        """Whether it had work at the last look."""
        self.used_ns = 0
        """When it last had."""
        self.retry_ns = 0
        self.failures = 0
        """Loads that failed in a row."""

    @property
    def takes(self) -> int:
        """Bytes that it takes now, or may take."""
        return self.need if self.state in ("loading", "loaded", "unloading") else 0


class LoadPolicy:
    """Decides, and remembers what came of it."""

    def __init__(self, budget: int, models: Mapping[str, tuple[int, int | None]]) -> None:
        """``models``: what each needs in bytes, and for how many ns it is kept without work.

        One that needs more than the ``budget`` is loaded alone.
        """
        self._budget = budget
        self._models = {
            name: _Model(min(need, budget), keep) for name, (need, keep) in models.items()
        }

    def state(self, name: str) -> State:
        return self._models[name].state

    def retry_ns(self, name: str) -> int | None:
        """From when a model that could not be loaded is tried again; None: it could be."""
        model = self._models[name]
        return model.retry_ns if model.state == "failed" else None

    # ------------------------------------------------------------------ what happened

    def loaded(self, name: str, now_ns: int) -> None:
        """A load has ended well."""
        model = self._models[name]
        model.state = "loaded"
        model.failures = 0
        model.used_ns = now_ns
        model.stays_until_ns = now_ns + STAY * (now_ns - model.began_ns)

    def failed(self, name: str, now_ns: int) -> None:
        """A load has failed, and left nothing behind."""
        model = self._models[name]
        model.state = "failed"
        model.leaves = False
        model.retry_ns = now_ns + min(RETRY_FIRST_NS << model.failures, RETRY_MAX_NS)
        model.failures = min(model.failures + 1, 10)

    def unloaded(self, name: str) -> None:
        """Its processes have ended."""
        model = self._models[name]
        model.state = "unloaded"
        model.leaves = False

    def leave(self, name: str) -> None:
        """It shall go, whoever waits for it: they bring it back when it is their turn."""
        model = self._models[name]
        model.leaves = model.state in ("loading", "loaded")

    def retry(self, name: str) -> None:
        """Somebody insists: a failure of before says nothing."""
        self._models[name].retry_ns = 0

    # ------------------------------------------------------------------ what follows

    def decide(self, now_ns: int, facts: Mapping[str, Facts]) -> Decision:
        """What is to be done, and done it is from now on as far as states go."""
        decision = Decision()
        for name, model in self._models.items():
            self._note_use(model, facts[name], now_ns)
            self._keep_alive(name, facts[name], now_ns, decision)
        self._make_room(now_ns, facts, decision)
        return decision

    def _note_use(self, model: _Model, facts: Facts, now_ns: int) -> None:
        works = facts.running or facts.held or facts.first is not None
        if works or model.worked:
            model.used_ns = max(model.used_ns, now_ns)
        model.worked = works

    def _keep_alive(self, name: str, facts: Facts, now_ns: int, decision: Decision) -> None:
        """Unload what nobody has used for long, or what shall go."""
        model = self._models[name]
        if model.state != "loaded":
            return
        if model.leaves:
            if facts.running:
                decision.yields.add(name)
            else:
                self._unload(name, "asked", decision)
        elif model.keep_alive_ns is not None and not model.worked:
            due_ns = model.used_ns + model.keep_alive_ns
            if now_ns >= due_ns:
                self._unload(name, "idle", decision)
            else:
                decision.wake(due_ns)

    def _make_room(self, now_ns: int, facts: Mapping[str, Facts], decision: Decision) -> None:
        """Load what is wanted, the first in line first; what has no room gets some."""
        free = self._budget - sum(model.takes for model in self._models.values())
        coming = sum(m.need for m in self._models.values() if m.state == "unloading" or m.leaves)
        for name in self._wanted(now_ns, facts, decision):
            model = self._models[name]
            if model.need <= free:
                model.state, model.began_ns = "loading", now_ns
                decision.load.append(name)
            elif model.need > free + coming:
                first = facts[name].first
                assert first is not None, "nobody wants it"
                short = model.need - free - coming
                coming += self._evict(short, first, now_ns, facts, decision)
            # What the first in line needs is not given to those behind.
            free -= model.need

    def _wanted(self, now_ns: int, facts: Mapping[str, Facts], decision: Decision) -> Iterable[str]:
        """Models that are not there and that somebody waits for, the first in line first."""
        found = list[tuple[int, str]]()
        for name, model in self._models.items():
            first = facts[name].first
            if first is None or model.state not in ("unloaded", "failed"):
                continue
            if model.state == "failed" and now_ns < model.retry_ns:
                decision.wake(model.retry_ns)
            else:
                found.append((first, name))
        return [name for _, name in sorted(found)]

    def _evict(
        self, short: int, first: int, now_ns: int, facts: Mapping[str, Facts], decision: Decision
    ) -> int:
        """Have models go that need ``short`` bytes together, or none; how many bytes they need."""
        idle, busy = list[tuple[int, str]](), list[tuple[float, str]]()
        for name, model in self._models.items():
            if model.state != "loaded" or model.leaves or name in decision.yields:
                continue
            theirs = facts[name].first
            if not model.worked:
                idle.append((model.used_ns, name))
            elif theirs is None or theirs > first:
                if now_ns < model.stays_until_ns:
                    decision.wake(model.stays_until_ns)
                else:
                    busy.append((-theirs if theirs is not None else float("-inf"), name))
        chosen, room = list[str](), 0
        for _, name in (*sorted(idle), *sorted(busy)):
            if room >= short:
                break
            chosen.append(name)
            room += self._models[name].need
        if room < short:
            return 0
        for name in chosen:
            if not facts[name].running:
                self._unload(name, "yielded" if self._models[name].worked else "memory", decision)
            else:
                decision.yields.add(name)
        return room

    def _unload(self, name: str, reason: Reason, decision: Decision) -> None:
        self._models[name].state = "unloading"
        decision.unload.append((name, reason))
