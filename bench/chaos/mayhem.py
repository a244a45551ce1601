"""Blows to workers at random moments, from a seed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import httpx

from bench.processes import process

Kind = Literal["kill", "both", "chase", "start", "stop", "last", "nap"]
KINDS: dict[Kind, str] = {
    "kill": "one worker killed",
    "both": "all workers killed at once",
    "chase": "one killed, and the one that took over a moment later",
    "start": "one killed, and its successor while it loads",
    "stop": "one stopped (SIGSTOP) for good",
    "last": "one stopped for good, and the other killed a moment later",
    "nap": "one stopped and continued a moment later",
}
WEIGHTS: dict[Kind, int] = {"kill": 6, "both": 2, "chase": 2, "start": 2}
STOPPING: dict[Kind, int] = {"stop": 2, "last": 1, "nap": 2}
GAP_S = 1.0, 3.0
"""The pause between two blows."""
MOMENT_S = 0.3
"""The longest time between the two halves of a blow."""
RECOVERED_STEPS = 16
"""Steps after which a worker has given a token to all the generations that it had before them."""
SUSPICIOUS = 2
"""Deaths without a token in between that a request may carry into no further blow, which is two
deaths at most: after three it is suspected of killing workers and runs alone, and dies of a fourth.
"""
POLL_S = 0.02
Worker = dict[str, Any]


class Mayhem:
    """Strikes the workers of one server. Owns which of them are dead or stopped by our hand."""

    def __init__(
        self, url: str, gateway: int, seed: int, *, stop: bool, patient: bool, nap_s: float
    ) -> None:
        """``gateway`` is its pid: nobody but its children is struck.

        ``stop``: also SIGSTOP, some of them for up to ``nap_s`` seconds and the others for ever.
        ``patient``: a blow waits until those struck before have got on; else only for somebody
        to strike.
        """
        self._http = httpx.AsyncClient(base_url=url, timeout=60)
        self._gateway = gateway
        self._rng = random.Random(f"mayhem {seed}")
        self._weights = WEIGHTS | STOPPING if stop else WEIGHTS
        self._patient = patient
        self._nap_s = nap_s
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
                if self._patient:
                    await self._recovered()
                alive = await self._serving()
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
        elif kind in ("chase", "last"):
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
        """To a child of the gateway that has not ended, and to nobody else."""
        pid, found = worker["pid"], process(worker["pid"])
        if found is None or found.parent != self._gateway or found.state == "Z":
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            self.doomed.setdefault(pid, time.monotonic())

    async def _moment(self) -> None:
        await asyncio.sleep(self._rng.uniform(0, MOMENT_S))

    # ------------------------------------------------------------------ what the pool does

    async def _workers(self) -> list[Worker]:
        found: list[Worker] = (await self._http.get("/workers")).json()
        return found

    async def _alive(self) -> list[Worker]:
        """Return the workers with a process that was not yet struck."""
        return [w for w in await self._workers() if w["pid"] and w["pid"] not in self.doomed]

    async def _serving(self) -> list[Worker]:
        """Return the workers not yet struck, once one of them can serve."""
        while True:
            alive = await self._alive()
            if any(worker["state"] == "ready" for worker in alive):
                return alive
            await asyncio.sleep(POLL_S)

    async def _successor(self, victim: Worker) -> Worker:
        """The process that takes the victim's place, at some moment of its first."""
        while True:
            worker = (await self._workers())[victim["id"]]
            if worker["pid"] not in (None, victim["pid"]):
                await self._moment()
                return (await self._workers())[victim["id"]]
            await asyncio.sleep(POLL_S)

    async def _recovered(self) -> None:
        """Wait until all workers serve, and all that were struck before got on.

        Not for the sake of the server's comfort: on a machine so slow that a long request gets no
        token between blows, its presence at all of them would be taken for their cause.
        """
        await self._until(self._replaced)
        before = {worker["pid"]: worker["steps"] for worker in await self._workers()}

        async def got_on() -> bool:
            return all(
                not worker["busy"]
                or worker["steps"] >= before.get(worker["pid"], 0) + RECOVERED_STEPS
                for worker in await self._workers()
            )

        await self._until(got_on)

    async def _replaced(self) -> bool:
        for worker in await self._workers():
            if worker["state"] != "ready" or worker["pid"] in self.doomed:
                return False
        waiting = (await self._http.get("/queue")).json()["waiting"]
        return all(place["deaths"] < SUSPICIOUS for place in waiting)

    async def _until(self, check: Callable[[], Awaitable[bool]]) -> None:
        while True:
            if await check():
                return
            await asyncio.sleep(POLL_S)
