"""From answers to figures, and what the system's processes took for them."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median

from bench.overload.measure import percentile
from bench.processes import Process, cpu_seconds, memory

from .repeats import repeated
from .workloads import Run

Figures = dict[str, float]
"""By name; seconds unless the name says otherwise. NaN: could not be seen."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Resources that processes have taken so far."""

    cpu_s: float
    rss_mib: float
    pss_mib: float


def cost(family: list[Process]) -> Cost:
    """Of all of them together; one that has just ended counts no more."""
    cpu, rss, pss = 0.0, 0, 0
    for member in family:
        with contextlib.suppress(OSError):
            held = memory(member.pid)
            cpu += cpu_seconds(member.pid)
            rss += held.rss
            pss += held.pss
    return Cost(cpu, rss / 1024, pss / 1024)


async def measured(work: Callable[[], Awaitable[Run]], family: list[Process]) -> Figures:
    """Do the work, and say how it went."""
    before, own, begin = cost(family), time.process_time(), time.perf_counter()
    run = await work()
    run.seconds = time.perf_counter() - begin
    own, after = time.process_time() - own, cost(family)
    found = figures(run)
    seen = bool(family and found["tokens"])
    cpu_s = 1000 * (after.cpu_s - before.cpu_s)
    return found | {
        "cpu_s_per_1000_tokens": cpu_s / found["tokens"] if seen else math.nan,
        "rss_mib": after.rss_mib if seen else math.nan,
        "pss_mib": after.pss_mib if seen else math.nan,
        "client_cpu_share": own / run.seconds,
    }


def figures(run: Run) -> Figures:
    """Figures that the answers alone tell."""
    good = [answer for answer in run.answers if not answer.error]
    ttft = [answer.ttft for answer in good]
    e2e = [answer.ended - answer.asked for answer in good]
    pauses = [gap for answer in good for gap in answer.gaps if _counts(gap, run.window)]
    gaps = [end - begin for begin, end in pauses]
    tokens = sum(answer.tokens for answer in good)
    found = {
        "requests": float(len(run.answers)),
        "errors": float(len(run.answers) - len(good)),
        "seconds": run.seconds,
        "tokens": float(tokens),
        "tokens_per_s": tokens / run.seconds,
        "requests_per_s": len(good) / run.seconds,
        "prompt_tokens": median(a.prompt_tokens for a in good) if good else math.nan,
        "cached_tokens": float(sum(a.cached_tokens for a in good)),
        "cached_share": share(
            sum(a.cached_tokens for a in good), sum(a.prompt_tokens for a in good)
        ),
    }
    if run.prompts:
        grams = [repeated(p, a.text) for p, a in zip(run.prompts, run.answers, strict=True)]
        found["repeated_share"] = share(sum(again for again, _ in grams), sum(n for _, n in grams))
    for name, values in (("ttft", ttft), ("itl", gaps), ("e2e", e2e)):
        for q in (0.5, 0.99):
            found[f"{name}_p{q * 100:.0f}"] = percentile(values, q)
        found[f"{name}_max"] = max(values, default=math.nan)
    if run.long is not None:
        found["long_ttft"] = run.long.ttft if run.long.moments else math.nan
        found["errors"] += bool(run.long.error)
        found["long_prompt_tokens"] = float(run.long.prompt_tokens)
    return found


def share(part: float, whole: float) -> float:
    """NaN of nothing."""
    return part / whole if whole else math.nan


def _counts(gap: tuple[float, float], window: tuple[float, float] | None) -> bool:
    """Return whether a part of it is in the window."""
    return window is None or (gap[1] >= window[0] and gap[0] <= window[1])


def medians(rounds: list[Figures]) -> Figures:
    """Of each figure, in the rounds that have it: goodput is not sought in all."""
    names = dict.fromkeys(name for found in rounds for name in found)
    return {name: median(found[name] for found in rounds if name in found) for name in names}


@dataclass(frozen=True, slots=True)
class Ratio:
    """One system's figure over another's, round by round."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        if self.least == self.most:
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({self.least:.2f}-{self.most:.2f})"


def ratio(mine: list[Figures], theirs: list[Figures], name: str) -> Ratio | None:
    """None if there is nothing to compare."""
    pairs = list(zip(mine, theirs, strict=False))
    found = [m[name] / t[name] for m, t in pairs if t.get(name) and name in m]
    found = [value for value in found if not math.isnan(value)]
    return Ratio(median(found), min(found), max(found)) if found else None
