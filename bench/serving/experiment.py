"""All systems in turns on one model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from .ceiling import batched_bench
from .client import Request
from .measure import Figures, measured
from .prompts import Known, Prompts, known
from .settings import Settings
from .systems import System, Up
from .workloads import Plan, Sitting, Workload, closed

Found = dict[str, dict[str, list[Figures]]]
"""By workload and system: a set of figures for each round."""
CEILING = "llama-batched-bench"
CEILINGS = {CEILING: True, f"{CEILING}-no-repack": False}
"""Names, and whether weights are repacked."""
WARM_REQUESTS, WARM_WORDS, WARM_TOKENS = 4, 50, 8


@dataclass(frozen=True, slots=True)
class Spec:
    """Return the work on a model, in its order. ``ceiling``: the program that gives it."""

    model: Path
    sittings: list[Sitting]
    rounds: int
    ceiling: Path | None = None
    pilot: Plan | None = None
    """The way to find the capacity, if anything needs it."""


class Experiment:
    """One model."""

    def __init__(
        self, name: str, spec: Spec, systems: list[System], bar: Progress,
        found: Found | None = None,
    ) -> None:  # fmt: skip
        """``found``: rounds of an earlier run, which this one goes on from."""
        self._name = name
        self._spec = spec
        self._systems = systems
        self._bar = bar
        self._known: Known = known(spec.model)
        self._workloads = [work for sitting in spec.sittings for work in sitting.workloads]
        self.capacity = math.nan
        """Requests per second that the first system serves in the pilot, if anything needs it."""
        self.failed: dict[str, str] = {}
        """Peers that do not run here, with the reasons."""
        self.found: Found = dict(found or {})
        for workload in self._workloads:
            self.found.setdefault(workload.name, {})
        rounds = (self.found[w.name].values() for w in self._workloads)
        self._begun = max((len(each) for systems in rounds for each in systems), default=0)
        """Rounds that are there: each has prompts of its own."""

    async def run(self, after: Callable[[], None]) -> None:
        """All systems in all rounds, each alone on the machine; ``after`` follows each of them."""
        task = self._bar.add_task(self._name, total=self._spec.rounds * sum(self._steps()))

        def now(what: str) -> None:
            self._bar.update(task, description=f"{self._name}: {what}")

        if self._spec.pilot and any(w.needs_capacity for w in self._workloads):
            await self._pilot(self._spec.pilot, self._spec.sittings[0].settings)
        for number in range(self._begun, self._begun + self._spec.rounds):
            at = number % len(self._systems)
            for sitting in self._spec.sittings:
                for system in self._systems[at:] + self._systems[:at]:
                    if system.name not in self.failed:
                        now(system.name)
                        await self._sit(system, sitting, number)
                        self._bar.advance(task, len(list(fitting(system, sitting))))
                        after()
                now(CEILING)
                for _ in self._ceilings(sitting):
                    self._bar.advance(task)
                after()

    async def _sit(self, system: System, sitting: Sitting, number: int) -> None:
        """One system, alone on the machine. A peer that fails is left out from then on."""
        work = list(fitting(system, sitting))
        if not work:
            return
        try:
            async with system.up(sitting.settings) as up:
                await self._warm(up, number)
                for workload in work:
                    self._keep(workload, system.name, await self._measure(up, workload, number))
        except RuntimeError as error:
            if system.is_forge:
                raise
            self.failed[system.name] = f"it failed: {error}"

    def _steps(self) -> Iterator[int]:
        """Return the number of things that are done in each sitting of a round."""
        for sitting in self._spec.sittings:
            yield sum(len(list(fitting(system, sitting))) for system in self._systems)
            yield (
                len(CEILINGS) * any(w.closed for w in sitting.workloads) * bool(self._spec.ceiling)
            )

    def _keep(self, workload: Workload, name: str, figures: Figures) -> None:
        self.found[workload.name].setdefault(name, []).append(figures)

    async def _pilot(self, plan: Plan, settings: Settings) -> None:
        """Find out how much load is much, from a closed loop that fills all slots."""
        async with self._systems[0].up(settings) as up:
            await self._warm(up, -1)
            prompts = Prompts(self._known.words, "pilot")
            clients = min(settings.slots, max(plan.waves))
            found = await measured(
                lambda: closed(up.asker, prompts, 0.0, plan=plan, clients=clients, waves=1),
                up.family(),
            )
        if not found["requests_per_s"]:
            raise RuntimeError(f"{self._name}: {self._systems[0].name} answers nobody")
        self.capacity = found["requests_per_s"]

    async def _warm(self, up: Up, number: int) -> None:
        prompts = Prompts(self._known.words, f"warm {number}")
        for _ in range(WARM_REQUESTS):
            answer = await up.asker.ask(Request(prompts.chat(WARM_WORDS), WARM_TOKENS))
            if answer.error:
                raise RuntimeError(f"{self._name}: {answer.error}")

    async def _measure(self, up: Up, workload: Workload, number: int) -> Figures:
        """The prompts are the same for every system of a round, and others in the next."""
        prompts = Prompts(self._known.words, f"{number} {workload.name}")
        found = await measured(lambda: workload.run(up.asker, prompts, self.capacity), up.family())
        if workload.goodput is not None:
            rate = found["requests_per_s"]
            more = Prompts(self._known.words, f"{number} {workload.name} goodput")
            found["goodput"] = await workload.goodput(up.asker, more, rate)
            found["goodput_share"] = found["goodput"] / rate if rate else math.nan
        return found

    def _ceilings(self, sitting: Sitting) -> Iterator[None]:
        """Both ways to hold the weights, with prompts as long as the first system saw them."""
        loops = [work for work in sitting.workloads if work.closed]
        if self._spec.ceiling is None or not loops:
            return
        first = next(iter(self.found[loops[0].name].values()))
        for name, repack in CEILINGS.items():
            try:
                found = batched_bench(
                    self._spec.ceiling, sitting.settings, prompt=round(first[-1]["prompt_tokens"]),
                    tokens=loops[0].tokens, clients=[w.closed for w in loops], repack=repack,
                )  # fmt: skip
            except RuntimeError as error:
                self.failed[name] = f"it failed: {error}"
                found = {}
            for workload in loops:
                if workload.closed in found:
                    self._keep(workload, name, found[workload.closed])
            yield


def fitting(system: System, sitting: Sitting) -> Iterator[Workload]:
    """The work of a system in a sitting."""
    if not (system.drafts or sitting.settings.drafts):
        return
    for workload in sitting.workloads:
        fits = workload.closed or system.is_peer
        if fits and (system.is_forge or not workload.forge_only):
            yield workload
