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
from .systems import Settings, System, Up
from .workloads import Plan, Workload, closed, workloads

Found = dict[str, dict[str, list[Figures]]]
"""By workload and system: a set of figures for each round."""
CEILING = "llama-batched-bench"
WARM_REQUESTS, WARM_TOKENS = 4, 8


@dataclass(frozen=True, slots=True)
class Spec:
    """What is to be done on a model. ``ceiling``: the program that gives it, if there is one."""

    settings: Settings
    plan: Plan
    only: list[str] | None
    """Beginnings of the names of the workloads to do; None: all."""
    ceiling: Path | None


class Experiment:
    """One model."""

    def __init__(self, name: str, spec: Spec, systems: list[System], bar: Progress) -> None:
        self._name = name
        self._spec = spec
        self._systems = systems
        self._bar = bar
        self._known: Known = known(spec.settings.model)
        room = min(self._known.context, spec.settings.ctx)
        self._workloads = [
            workload for workload in workloads(spec.plan, room, spec.settings.slots)
            if spec.only is None or workload.name.startswith(tuple(spec.only))
        ]  # fmt: skip
        self.capacity = math.nan
        """Requests per second that the first system serves in the pilot, if anything needs it."""
        self._prompt_tokens = 0
        self.found: Found = {workload.name: {} for workload in self._workloads}

    async def run(self, after: Callable[[], None]) -> None:
        """Every system in every round, each alone on the machine; ``after`` follows each round."""
        mine = {system.name: list(self._for(system)) for system in self._systems}
        ceilings = 2 * (self._spec.ceiling is not None and any(w.closed for w in self._workloads))
        total = self._spec.plan.rounds * (sum(map(len, mine.values())) + ceilings)
        task = self._bar.add_task(self._name, total=total)

        def now(what: str) -> None:
            self._bar.update(task, description=f"{self._name}: {what}")

        if self._spec.ceiling is not None or any(w.needs_capacity for w in self._workloads):
            await self._pilot()
        for number in range(self._spec.plan.rounds):
            at = number % len(self._systems)
            for system in self._systems[at:] + self._systems[:at]:
                now(f"{system.name} starts")
                async with system.up(self._spec.settings) as up:
                    await self._warm(up, number)
                    for workload in mine[system.name]:
                        now(f"{system.name}, {workload.name}")
                        figures = await self._measure(up, workload, number)
                        self._keep(workload, system.name, figures)
                        self._bar.advance(task)
            now(CEILING)
            for _ in self._ceilings():
                self._bar.advance(task)
            after()

    def _for(self, system: System) -> Iterator[Workload]:
        for workload in self._workloads:
            fits = workload.closed or system.is_peer
            if fits and (system.is_forge or not workload.forge_only):
                yield workload

    def _keep(self, workload: Workload, name: str, figures: Figures) -> None:
        self.found[workload.name].setdefault(name, []).append(figures)

    async def _pilot(self) -> None:
        """How much load is much, told from a closed loop that fills all slots."""
        settings, plan = self._spec.settings, self._spec.plan
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
        self._prompt_tokens = round(found["prompt_tokens"])

    async def _warm(self, up: Up, number: int) -> None:
        prompts = Prompts(self._known.words, f"warm {number}")
        for _ in range(WARM_REQUESTS):
            messages = prompts.chat(self._spec.plan.words)
            answer = await up.asker.ask(Request(messages, WARM_TOKENS))
            if answer.error:
                raise RuntimeError(f"{self._name}: {answer.error}")

    async def _measure(self, up: Up, workload: Workload, number: int) -> Figures:
        """The prompts are the same for every system of a round, and others in the next."""
        prompts = Prompts(self._known.words, f"{number} {workload.name}")
        return await measured(lambda: workload.run(up.asker, prompts, self.capacity), up.family())

    def _ceilings(self) -> Iterator[None]:
        """Both ways to hold the weights."""
        plan, loops = self._spec.plan, [w for w in self._workloads if w.closed]
        if self._spec.ceiling is None or not loops:
            return
        for name, repack in ((CEILING, True), (f"{CEILING}-no-repack", False)):
            found = batched_bench(
                self._spec.ceiling, self._spec.settings, prompt=self._prompt_tokens,
                tokens=plan.tokens, clients=[w.closed for w in loops], repack=repack,
            )  # fmt: skip
            for workload in loops:
                if workload.closed in found:
                    self._keep(workload, name, found[workload.closed])
            yield
