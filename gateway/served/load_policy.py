"""Decide which models are in memory, and which are evicted for others. Pure.

The clock is an argument. A model is wanted while a request waits for it. If the budget has no room
for it, models without work are evicted, least recently used first. If those are not enough, the
heap's own order decides: a model whose first waiting request comes after that of the wanted model
gives no more slots, and is unloaded when its running requests have ended. Keys are fixed at
arrival, so every waiting request comes first sooner or later: no model starves. A loaded model
stays for STAY times its loading time, so that two busy models don't spend their time with loading.

Example: a budget of 100, models a (60), b (30) and c (50); smaller keys come first. a and b are
loaded, 10 are free. A request for c arrives with key 5, and c is short of 40. If a has no work, a
is evicted (60 >= 40), and c is loaded when a's processes have ended. If all have work, and the
first request that waits for a has key 7, and for b key 3, then only a may yield. a took 2 s to
load, so until 6 s after that it gives slots as before; then it gives none, runs dry, and c takes
its place. Requests for c with keys above 7 wait for a's turn: c yields in its turn. If c can't be
loaded, it is tried again after 1 s, 2 s, 4 s ... 60 s.

Without work a model stays for its keep_alive after the last request of any client. A request may
ask for less than that, never for more, and speaks for its client alone: with a keep_alive of 300 s,
one of x that ends at 10 s and asks for 0 s, and one of y that ended at 5 s and asked for nothing,
keep the model until 305 s.

On the nodes of a cluster no memory is counted: a model is loaded at once, and its workers wait
where no node has a place for them. Then models are evicted for it by the same order, one after
another.

Spare work (see `gateway.dispatch.queues`) takes the memory that is left. It is no use of a model:
it renews no keep_alive, and a model whose work is all spare makes room at once for one that an
ordinary request waits for. A model that spare work waits for is loaded after all others, and evicts
only models that have no work and had no use for a while: for their keep_alive, or QUIET. Once its
spare work has ended, a model stays as long as it must after a load, lest the next of it loads it
again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gateway.core.clock import NANO
from gateway.served.model_record import (
    FOREVER_NS,
    MOST_LEASES,
    Facts,
    ModelRecord,
    Reason,
    State,
)

__all__ = ["FOREVER_NS", "MOST_LEASES", "Decision", "Facts", "LoadPolicy", "Reason", "State"]

STAY = 3
"""A loaded model stays for so many times as long as it took to load, before it must yield."""
QUIET_NS = 300 * NANO
"""A model without a keep_alive that was not used for so long may be evicted for spare work."""
PLACES_NS = 5 * NANO
"""Time after a model has left its places on nodes in which those that wait for some may find them.
"""
RETRY_FIRST_NS, RETRY_MAX_NS = NANO, 60 * NANO
"""Pause before a failed load is tried again; it doubles with each failure in a row."""


@dataclass(slots=True)
class Decision:
    """Loads and unloads to begin now. Models in no list go on as they are."""

    load: list[str] = field(default_factory=list)
    measure: list[str] = field(default_factory=list)
    """Models that are wanted, and whose need of memory must be known first."""
    give_up: list[str] = field(default_factory=list)
    """Models whose load is not wanted any more."""
    unload: list[tuple[str, Reason]] = field(default_factory=list)
    yields: set[str] = field(default_factory=set)
    """Models that give no more slots."""
    wake_ns: int | None = None
    """Time to decide again, if nothing happens before."""

    def wake(self, at_ns: int) -> None:
        """Decide again at ``at_ns`` at the latest."""
        self.wake_ns = at_ns if self.wake_ns is None else min(self.wake_ns, at_ns)


class LoadPolicy:
    """Decide on loads and unloads, and remember how they ended."""

    def __init__(self, budget: int, models: Mapping[str, tuple[int, int | None]]) -> None:
        """``models``: what each needs in bytes, and for how many ns it is kept without work.

        One that needs more than the ``budget`` is loaded alone.
        """
        self._budget = budget
        self._reserved = 0
        """Bytes of workers that are no model's now: those that come, and those that go."""
        self._places_ns = 0
        """Time at which another model may be evicted for its places on nodes."""
        self._models = dict[str, ModelRecord]()
        for name, (need, keep) in models.items():
            self.add(name, need, keep)

    def add(self, name: str, need: int | None, keep_alive_ns: int | None) -> None:
        """Take one model more; ``need`` None: unknown until :meth:`measured`."""
        known = None if need is None else min(need, self._budget)
        self._models[name] = ModelRecord(known, keep_alive_ns)

    def change(self, name: str, need: int | None, keep_alive_ns: int | None) -> None:
        """Take other figures of a model that is not loaded; it may be tried again at once."""
        model = self._models[name]
        assert model.takes == 0, "it takes memory"
        model.need = min(need or 0, self._budget)
        model.measured, model.keep_alive_ns = need is not None, keep_alive_ns
        model.state = "unloaded"
        model.retry_ns = model.failures = 0

    def keep(self, name: str, keep_alive_ns: int | None) -> None:
        """Keep a model for so long without work."""
        self._models[name].keep_alive_ns = keep_alive_ns

    def reserve(self, size: int) -> bool:
        """Take ``size`` bytes of the budget for workers beside those of models, if it has them."""
        free = self._budget - self._reserved - sum(m.takes for m in self._models.values())
        if size > free:
            return False
        self._reserved += size
        return True

    def give_back(self, size: int) -> None:
        """Give back bytes that were reserved."""
        self._reserved -= size
        assert self._reserved >= 0, "more than was taken"

    def pin(self, name: str) -> None:
        """Keep a model loaded whatever comes, until :meth:`unpin`."""
        self._models[name].pinned = True

    def unpin(self, name: str) -> None:
        """End that."""
        self._models[name].pinned = False

    def takes(self, name: str) -> int:
        """Return the bytes that a model takes now, or may take."""
        return self._models[name].takes

    def replaced(self, name: str, need: int, before: int, after: int) -> None:
        """Record that a model has other workers, of ``need`` bytes.

        ``before`` bytes were reserved for them, and ``after`` are for those that go.
        """
        model = self._models[name]
        model.need, model.pinned = min(need, self._budget), False
        self._reserved += after - before

    def evictable(self, name: str, short: int) -> list[str]:
        """Return models without work that free ``short`` bytes, or none; ``name`` stays."""
        idle = [
            (model.used_ns, each, model.need)
            for each, model in self._models.items()
            if each != name and model.state == "loaded" and not model.worked and not model.pinned
        ]
        chosen = list[str]()
        for _, each, need in sorted(idle):
            if short <= 0:
                break
            chosen.append(each)
            short -= need
        return chosen if short <= 0 else []

    def short_of(self, size: int) -> int:
        """Return the bytes that :meth:`reserve` would lack."""
        taken = self._reserved + sum(model.takes for model in self._models.values())
        return max(0, size + taken - self._budget)

    def remove(self, name: str) -> None:
        """Forget a model that is not loaded."""
        assert self._models[name].takes == 0, "it takes memory"
        del self._models[name]

    def state(self, name: str) -> State:
        """Return the state of a model; one that was removed is not loaded."""
        model = self._models.get(name)
        return "unloaded" if model is None else model.state

    def due_ns(self, name: str) -> int | None:
        """Return when a loaded model is unloaded if it has no work; None: when others need room."""
        return self._models[name].due_ns

    def retry_ns(self, name: str) -> int | None:
        """Return when a failed load may be tried again; None if the model has not failed."""
        model = self._models[name]
        return model.retry_ns if model.state == "failed" else None

    # ------------------------------------------------------------------ what happened

    def measured(self, name: str, need: int) -> None:
        """Record the need of a model in bytes; it may be loaded from now on."""
        model = self._models[name]
        model.need, model.measured = min(need, self._budget), True

    def loaded(self, name: str, now_ns: int) -> None:
        """Record that a load has succeeded."""
        model = self._models[name]
        model.state = "loaded"
        model.failures = 0
        model.spare_ns = None
        if not model.for_spare:
            model.used_ns = now_ns
        model.took_ns = now_ns - model.began_ns
        model.stays_until_ns = now_ns + STAY * model.took_ns

    def failed(self, name: str, now_ns: int) -> None:
        """Record that a load has failed, and left nothing behind."""
        model = self._models[name]
        model.state = "failed"
        model.measured = bool(model.measured)
        model.leaves = False
        model.end_leases()
        model.retry_ns = now_ns + min(RETRY_FIRST_NS << model.failures, RETRY_MAX_NS)
        model.failures = min(model.failures + 1, 10)

    def unloaded(self, name: str) -> None:
        """Record that its processes have ended."""
        model = self._models[name]
        model.state = "unloaded"
        model.leaves = False
        model.end_leases()

    def used(self, name: str, client: str, now_ns: int, keep_ns: int | None) -> None:
        """Record that a request of ``client`` has ended that wants the model kept for ``keep_ns``.

        None: for the model's own keep_alive, which is the most that a request can ask for. The use
        may have begun and ended between two looks.
        """
        model = self._models[name]
        model.used_ns = max(model.used_ns, now_ns)
        own_ns = FOREVER_NS if model.keep_alive_ns is None else model.keep_alive_ns
        model.lease(client, now_ns + (own_ns if keep_ns is None else min(keep_ns, own_ns)))

    def others_keep(self, name: str, client: str, now_ns: int) -> bool:
        """Return whether the model is kept for any other client than this one."""
        model = self._models[name]
        others = (until_ns for each, until_ns in model.leases.items() if each != client)
        return max(model.earlier_ns, *others, 0) > now_ns

    def leave(self, name: str) -> None:
        """Unload it as soon as it has no work; waiting requests load it again in their turn."""
        model = self._models[name]
        model.leaves = model.state in ("loading", "loaded")

    def retry(self, name: str) -> None:
        """Let the next load be tried at once, even after a failure."""
        self._models[name].retry_ns = 0

    # ------------------------------------------------------------------ what follows

    def decide(self, now_ns: int, facts: Mapping[str, Facts]) -> Decision:
        """Return the loads and unloads to begin; the states already count them as begun."""
        decision = Decision()
        for name, model in self._models.items():
            self._note_use(model, facts[name], now_ns)
            self._keep_alive(name, facts[name], now_ns, decision)
        self._make_room(now_ns, facts, decision)
        self._make_places(now_ns, facts, decision)
        return decision

    def _note_use(self, model: ModelRecord, facts: Facts, now_ns: int) -> None:
        if facts.used or model.worked:
            model.used_ns = max(model.used_ns, now_ns)
        model.worked = facts.used
        if facts.spare:
            model.spare_ns = now_ns

    def _keep_alive(self, name: str, facts: Facts, now_ns: int, decision: Decision) -> None:
        """Unload a model that was idle for too long, or whose unloading was asked for."""
        model = self._models[name]
        if model.state != "loaded" or model.pinned:
            return
        if model.leaves:
            if facts.running:
                decision.yields.add(name)
            else:
                self._unload(name, "asked", decision)
            return
        due_ns = model.due_ns
        if due_ns is None or model.worked or facts.spare:
            return
        if model.spare_ns is not None:
            due_ns = max(due_ns, model.spare_ns + STAY * model.took_ns)
        if now_ns >= due_ns:
            self._unload(name, "idle", decision)
        else:
            decision.wake(due_ns)

    def _make_room(self, now_ns: int, facts: Mapping[str, Facts], decision: Decision) -> None:
        """Load wanted models in the order of their first requests; evict others for them."""
        free = self._budget - self._reserved - sum(m.takes for m in self._models.values())
        coming = sum(m.need for m in self._models.values() if m.state == "unloading" or m.leaves)
        for name in self._wanted(now_ns, facts, decision):
            model = self._models[name]
            if model.need <= free:
                model.state, model.began_ns = "loading", now_ns
                model.for_spare = facts[name].first is None
                decision.load.append(name)
            elif model.need > free + coming:
                short, first = model.need - free - coming, facts[name].first
                if first is None:
                    coming += self._evict_quiet(short, now_ns, facts, decision)
                else:
                    coming += self._evict(short, first, now_ns, facts, decision)
            # What the first in line needs is not given to those behind.
            free -= model.need

    def _make_places(self, now_ns: int, facts: Mapping[str, Facts], decision: Decision) -> None:
        """Evict one model after another while a load waits for a place on a node.

        A load that nothing waits for any more is given up: Ray might start a node for it.
        """
        keys = list[int]()
        for name, model in self._models.items():
            if model.state != "loading" or not facts[name].cramped:
                continue
            first, spare = facts[name].first, facts[name].spare_waits
            if model.leaves or (first is None and not spare):
                model.state = "unloading"
                decision.give_up.append(name)
            elif first is not None:
                keys.append(first)
        if not keys:
            return
        if now_ns < self._places_ns:
            decision.wake(self._places_ns)
        elif not self._some_leave():
            self._evict(1, min(keys), now_ns, facts, decision)
        if self._some_leave():
            self._places_ns = now_ns + PLACES_NS

    def _some_leave(self) -> bool:
        return any(each.state == "unloading" or each.leaves for each in self._models.values())

    def _wanted(self, now_ns: int, facts: Mapping[str, Facts], decision: Decision) -> Iterable[str]:
        """Return models to load, in the order of their first waiting requests; spare ones last."""
        found = list[tuple[bool, int, str]]()
        for name, model in self._models.items():
            first, spare = facts[name].first, facts[name].spare_waits
            if not (spare or first is not None) or model.state not in ("unloaded", "failed"):
                continue
            if model.state == "failed" and now_ns < model.retry_ns:
                decision.wake(model.retry_ns)
            elif model.measured is False:
                model.measured = None
                decision.measure.append(name)
            elif model.measured:
                found.append((first is None, first or 0, name))
        return [name for _, _, name in sorted(found)]

    def _evict(
        self, short: int, first: int, now_ns: int, facts: Mapping[str, Facts], decision: Decision
    ) -> int:
        """Evict models of ``short`` bytes together, or none; return how many bytes they free."""
        idle, busy = list[tuple[int, str]](), list[tuple[float, str]]()
        for name, model in self._models.items():
            if model.state != "loaded" or model.leaves or model.pinned or name in decision.yields:
                continue
            theirs = facts[name].first
            if not model.worked:
                idle.append((model.used_ns, name))
            elif theirs is None or theirs > first:
                if now_ns < model.stays_until_ns:
                    decision.wake(model.stays_until_ns)
                else:
                    busy.append((-theirs if theirs is not None else float("-inf"), name))
        names = [name for _, name in (*sorted(idle), *sorted(busy))]
        return self._free(short, names, facts, decision)

    def _evict_quiet(
        self, short: int, now_ns: int, facts: Mapping[str, Facts], decision: Decision
    ) -> int:
        """Likewise for spare work, and only models without work that had none for a while."""
        quiet = list[tuple[int, str]]()
        for name, model in self._models.items():
            if model.state != "loaded" or model.leaves or model.pinned:
                continue
            if model.worked or facts[name].spare:
                continue
            due_ns = model.due_ns
            free_ns = model.used_ns + QUIET_NS if due_ns is None else due_ns
            if now_ns >= free_ns:
                quiet.append((model.used_ns, name))
            else:
                decision.wake(free_ns)
        return self._free(short, [name for _, name in sorted(quiet)], facts, decision)

    def _free(
        self, short: int, names: Iterable[str], facts: Mapping[str, Facts], decision: Decision
    ) -> int:
        """Unload as many of ``names`` as free ``short`` bytes, or none; return how many bytes."""
        chosen, room = list[str](), 0
        for name in names:
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
