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
        self.blows: Counter[Kind] = Counter()
        self.doomed: dict[int, float] = {}
        """Processes that were killed, or stopped for good, and when on the monotonic clock: each of
        them must be replaced."""
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
        self._send(victim, signal.SIGSTOP if kind in STOPPING else signal.SIGKILL)
        if kind == "both":
            for worker in alive:
                self._send(worker, signal.SIGKILL)
        elif kind == "chase":
            await self._moment()
            for worker in await self._alive():
                self._send(worker, signal.SIGKILL)
        elif kind == "start":
            self._send(await self._successor(victim), signal.SIGKILL)
        elif kind == "nap":
            await asyncio.sleep(self._rng.uniform(0, self._nap_s))
            self._send(victim, signal.SIGCONT)
            self.doomed.pop(victim["pid"], None)
            self.naps += 1
        self.blows[kind] += 1

    def _send(self, worker: Worker, number: signal.Signals) -> None:
        """Not to one that has ended, nor too often to one that loads."""
        pid, found = worker["pid"], process(worker["pid"])
        if found is None or found.parent != self._gateway or found.state == "Z":
            return
        if worker["state"] == "starting":
            if self._failed_starts[worker["id"]] >= FAILED_STARTS:
                return
            self._failed_starts[worker["id"]] += 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            self.doomed.setdefault(pid, time.monotonic())

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
