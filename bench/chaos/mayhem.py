"""Blows to workers at random moments, from a seed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from bench.processes import process

Kind = Literal["kill", "both", "chase", "start", "stop", "nap"]
KINDS: dict[Kind, str] = {
    "kill": "one worker killed",
    "both": "all workers killed at once",
    "chase": "one killed, and the one that took over a moment later",
    "start": "one killed, and its successor while it loads",
    "stop": "one stopped (SIGSTOP) for good",
    "nap": "one stopped and continued a moment later",
}
WEIGHTS: dict[Kind, int] = {"kill": 6, "both": 2, "chase": 2, "start": 2}
STOPPING: dict[Kind, int] = {"stop": 3, "nap": 2}
GAP_S = 0.5, 3.0
"""The pause after the pool has recovered, before the next blow."""
MOMENT_S = 0.3
"""The longest time between the two halves of a blow."""
RECOVERED_STEPS = 16
"""Steps after which a worker has given all of its first generations a token."""
FAILED_STARTS = 2
"""How often in succession a worker may be killed while it loads: at five the server gives up."""
POLL_S = 0.02
Worker = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Blow:
    """What was done, and when (on the monotonic clock) the last signal was sent."""

    kind: Kind
    at: float
    pids: tuple[int, ...]


class Mayhem:
    """Strikes the workers of one server. Owns which of them are dead or stopped by our hand."""

    def __init__(self, url: str, gateway: int, seed: int, *, stop: bool, nap_s: float) -> None:
        """``gateway`` is its pid: nobody but its children is struck.

        ``stop``: also SIGSTOP, some of them for up to ``nap_s`` seconds and the others for ever.
        """
        self._http = httpx.AsyncClient(base_url=url, timeout=60)
        self._gateway = gateway
        self._rng = random.Random(f"mayhem {seed}")
        self._weights = WEIGHTS | STOPPING if stop else WEIGHTS
        self._nap_s = nap_s
        self._failed_starts: Counter[int] = Counter()
        self.blows: list[Blow] = []
        self.doomed: set[int] = set()
        """Processes that were killed, or stopped for good: each of them must be replaced."""
        self.naps = 0
        """Processes that slept for a while: the server may have replaced them, or not."""

    async def run(self, until: float, tick: Callable[[], None]) -> None:
        """Strike until the monotonic clock says ``until``; ``tick`` after every blow."""
        try:
            while True:
                await asyncio.sleep(self._rng.uniform(*GAP_S))
                alive = await self._recovered()
                if time.monotonic() >= until:
                    return
                (kind,) = self._rng.choices(list(self._weights), list(self._weights.values()))
                await self._strike(kind, alive)
                tick()
        finally:
            await self._http.aclose()

    # ------------------------------------------------------------------ the blows

    async def _strike(self, kind: Kind, alive: list[Worker]) -> None:
        victim = self._rng.choice([worker for worker in alive if worker["state"] == "ready"])
        struck = [victim] if self._send(victim, _FIRST[kind]) else []
        if kind == "both":
            struck += [w for w in alive if w is not victim and self._send(w, signal.SIGKILL)]
        elif kind == "chase":
            await self._moment()
            others = await self._alive()
            struck += [w for w in others if self._send(w, signal.SIGKILL)]
        elif kind == "start":
            successor = await self._successor(victim)
            struck += [successor] if self._send(successor, signal.SIGKILL) else []
        elif kind == "nap":
            await asyncio.sleep(self._rng.uniform(0, self._nap_s))
            self._send(victim, signal.SIGCONT)
            self.naps += 1
        pids = tuple(worker["pid"] for worker in struck)
        if kind != "nap":
            self.doomed.update(pids)
        self.blows.append(Blow(kind, time.monotonic(), pids))

    def _send(self, worker: Worker, number: signal.Signals) -> bool:
        """Whether the signal was sent: not to one that ended, nor too often to one that loads."""
        pid, loading = worker["pid"], worker["state"] == "starting"
        found = process(pid)
        if found is None or found.parent != self._gateway or found.state == "Z":
            return False
        if number == signal.SIGKILL:
            if loading and self._failed_starts[worker["id"]] >= FAILED_STARTS:
                return False
            self._failed_starts[worker["id"]] += loading
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            return True
        return False

    async def _moment(self) -> None:
        await asyncio.sleep(self._rng.uniform(0, MOMENT_S))

    # ------------------------------------------------------------------ what the pool does

    async def _workers(self) -> list[Worker]:
        found: list[Worker] = (await self._http.get("/workers")).json()
        for worker in found:
            if worker["state"] == "ready":
                self._failed_starts[worker["id"]] = 0
        return found

    async def _alive(self) -> list[Worker]:
        """Those with a process that was not yet struck."""
        return [w for w in await self._workers() if w["pid"] and w["pid"] not in self.doomed]

    async def _successor(self, victim: Worker) -> Worker:
        """The process that takes the victim's place, at some moment of its first."""
        while True:
            worker = (await self._workers())[victim["id"]]
            if worker["pid"] not in (None, victim["pid"]):
                await self._moment()
                return (await self._workers())[victim["id"]]
            await asyncio.sleep(POLL_S)

    async def _recovered(self) -> list[Worker]:
        """The workers, once one serves and has done so for some steps, or has nothing to do."""
        while True:
            alive = await self._alive()
            for worker in alive:
                busy = worker["busy"] and worker["steps"] < RECOVERED_STEPS
                if worker["state"] == "ready" and not busy:
                    return alive
            await asyncio.sleep(POLL_S)


_FIRST: dict[Kind, signal.Signals] = {
    "kill": signal.SIGKILL,
    "both": signal.SIGKILL,
    "chase": signal.SIGKILL,
    "start": signal.SIGKILL,
    "stop": signal.SIGSTOP,
    "nap": signal.SIGSTOP,
}
