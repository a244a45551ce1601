"""The CPU time of a request, by the room whose code spends it; the parts add up to the whole.

A profiler tells the CPU time inside each function, and makes each call dearer by its own work. So
only the shares are taken from it, and applied to a request's cost without a profiler: rooms of many
small functions look somewhat dearer than they are. Functions written in C count for the room that
calls them.
"""

from __future__ import annotations

import cProfile
import pstats
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

from .stages import Stage

GATEWAY = Path(__file__).parents[2] / "gateway"
NAMES = {
    "api": "api: read, parse and validate the body, make the job, write the answer",
    "core": "core: priorities, usage, errors",
    "dashboard": "dashboard: remember requests that ended, for the live page",
    "dispatch": "dispatch: ticket, queue, dispatcher, limits",
    "http": "http: the key, the response's headers",
    "ordering": "ordering: heap, turns, admission",
    "served": "served: the model of a name",
    "telemetry": "telemetry: metrics, the line of log",
    "starlette": "Starlette: routes, middleware, request and response",
    "asyncio": "asyncio: tasks and futures",
}
OTHERS = "all else"
Function = tuple[str, int, str]
Entry = tuple[int, int, float, float, dict[Function, tuple[int, int, float, float]]]


def room(function: Function) -> str:
    """The room of a function, or the library; "" for one that is written in C."""
    file = Path(function[0])
    if function[0] == "~":
        return ""
    if file.is_relative_to(GATEWAY):
        return file.relative_to(GATEWAY).parts[0].removesuffix(".py")
    if file.is_relative_to(GATEWAY.parent / "bench"):
        return "bench"
    return next((name for name in ("starlette", "asyncio") if name in file.parts), OTHERS)


async def by_room(serve: Callable[[], Awaitable[None]], us: float, repeats: int) -> list[Stage]:
    """A request's ``us`` microseconds by room, the most expensive first."""
    profile = cProfile.Profile(time.thread_time)
    profile.enable()
    for _ in range(repeats):
        await serve()
    profile.disable()
    seconds = defaultdict[str, float](float)
    entries: dict[Function, Entry] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for function, (_, _, inside, _, callers) in entries.items():
        if home := room(function):
            seconds[home] += inside
        else:
            for caller, (_, _, spent, _) in callers.items():
                seconds[room(caller) or OTHERS] += spent
    del seconds["bench"]  # it plays the server and the worker
    found = {name: us * spent / sum(seconds.values()) for name, spent in seconds.items()}
    small = sum(cost for cost in found.values() if cost < 1)
    rows = [Stage(NAMES.get(name, name), cost) for name, cost in found.items() if cost >= 1]
    rows.sort(key=lambda stage: -stage.us)
    return [*rows, Stage("rooms of less than 1 µs", small), Stage("together", us)]
