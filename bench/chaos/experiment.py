"""Sixteen clients, two workers, and somebody who kills workers."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.server import Server
from gateway.config.config import EMBEDDED_MODEL
from tests.support.f32 import f32_copy

from .asking import MODEL, Request, mix
from .clients import Answer, Clients, Outcome
from .mayhem import Kind, Mayhem
from .verdict import Remains, files, mismatch, pauses, settled, survivors

CLIENTS = 16
LEAVING = 0.12
"""The share of requests whose clients hang up."""
EXACT = ("--cache-type-k", "f32", "--cache-type-v", "f32", "--flash-attn", "off")
"""With these and an F32 model a text does not depend on what else is in the batch."""
STUCK_S = 5.0
"""The server's --stuck-timeout."""
NAP_S = STUCK_S / 2
"""The longest time for which a worker is stopped and then continued."""
IMPATIENT = ("--stuck-timeout", str(STUCK_S))

Tick = Callable[[str], None]
"""Told whenever a "twin", an "answer" or a "blow" is through."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run; the same seed asks the same and strikes in the same order."""

    seconds: float
    requests: int
    """Number of different ones."""
    seed: int = 1
    stop: bool = True
    """True if workers are also stopped."""
    patient: bool = False
    """True if each blow waits until all that were struck before have got on."""


@dataclass(slots=True)
class Result:
    """The events of a run."""

    plan: Plan
    blows: Counter[Kind]
    deaths: int
    """Workers killed, or stopped for good."""
    naps: int
    restarts: int
    outcomes: list[Outcome]
    mismatches: list[str]
    remains: Remains
    survivors: list[str]
    exit_code: int
    log: str
    pauses: list[list[float]] = field(default_factory=list)
    """For each stream that was read to its end, its pauses at the moments of deaths."""

    @property
    def errors(self) -> list[str]:
        return [f"{o.request}: {o.error}" for o in self.outcomes if o.error]

    @property
    def unexplained(self) -> int:
        """Restarts that nobody of ours caused, or deaths without a restart."""
        return max(0, self.restarts - self.deaths - self.naps, self.deaths - self.restarts)

    @property
    def tokens(self) -> int:
        return sum(o.answer.completion_tokens for o in self.outcomes if o.answer is not None)

    @property
    def lived_through(self) -> Counter[int]:
        """Return the number of streams by the number of their pauses."""
        return Counter(len(found) for found in self.pauses)

    @property
    def faults(self) -> list[str]:
        """Everything that must not be, in words; empty if the promise holds."""
        found = [f"error: {error}" for error in self.errors]
        found += [f"different: {text}" for text in self.mismatches]
        found += [] if self.remains.nothing else [f"left behind: {self.remains}"]
        found += [f"still there after SIGTERM: {name}" for name in self.survivors]
        found += [f"exit code {self.exit_code}"] if self.exit_code else []
        found += [f"{self.unexplained} unexplained restarts"] if self.unexplained else []
        found += [f"{word} in the log" for word in ("Traceback", "INVARIANT") if word in self.log]
        return found


def exact_model(folder: Path) -> tuple[str, ...]:
    """Options for a server whose texts are exact; its model is made in ``folder``."""
    model = folder / "f32.gguf"
    if not model.exists():
        f32_copy(EMBEDDED_MODEL, model)
    return ("--model", str(model), "--alias", MODEL, "--threads", "1", *EXACT, *IMPATIENT)


async def run(plan: Plan, tick: Tick = lambda what: None) -> Result:
    """The whole experiment on a server of its own."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--workers", "2", "--slots", "4", *exact_model(Path(folder)))
        server = Server(*options, log=Path(folder) / "stderr")
        try:
            server.wait_ready()
            return await _run(plan, server, tick)
        finally:
            server.stop()


async def _run(plan: Plan, server: Server, tick: Tick) -> Result:
    files_before = files(server)
    requests = mix(plan.requests, plan.seed)
    clients = Clients(server.url)
    twins = await undisturbed(clients, requests, tick)
    mayhem = Mayhem(
        server.url, server.pid, plan.seed, stop=plan.stop, patient=plan.patient, nap_s=NAP_S
    )
    until = time.monotonic() + plan.seconds
    found: list[Outcome] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(mayhem.run(until, lambda: tick("blow")))
        for number in range(CLIENTS):
            rng = random.Random(f"client {number} {plan.seed}")
            group.create_task(_client(clients, requests, rng, until, found, tick))
    await clients.close()
    left = settled(server, files_before)
    restarts = sum(worker["restarts"] for worker in server.workers())
    workers = {worker["pid"] for worker in server.workers()}
    exit_code = server.stop()
    deaths = mayhem.doomed.values()
    return Result(
        plan=plan,
        blows=mayhem.blows,
        deaths=len(mayhem.doomed),
        naps=mayhem.naps,
        restarts=restarts,
        outcomes=found,
        mismatches=[
            f"{o.request}: {difference}"
            for o in found
            if not o.error and (difference := mismatch(o, twins[o.request.number]))
        ],
        remains=left,
        survivors=survivors(server, workers),
        exit_code=exit_code,
        log=server.log,
        pauses=[pauses(o, deaths) for o in found if o.request.stream and o.answer is not None],
    )


async def undisturbed(clients: Clients, requests: list[Request], tick: Tick) -> dict[int, Answer]:
    """Return each request's answer when nothing else runs. Raises RuntimeError if one fails."""
    twins = {}
    for request in requests:
        outcome = await clients.ask(request)
        if outcome.answer is None:
            raise RuntimeError(f"{request}: {outcome.error}")
        twins[request.number] = outcome.answer
        tick("twin")
    return twins


async def _client(
    clients: Clients,
    requests: list[Request],
    rng: random.Random,
    until: float,
    found: list[Outcome],
    tick: Tick,
) -> None:
    """One of the sixteen: asks again and again, and now and then does not wait for the end."""
    while time.monotonic() < until:
        leave_after = rng.randrange(1, 100) if rng.random() < LEAVING else None
        found.append(await clients.ask(rng.choice(requests), leave_after))
        tick("answer")
