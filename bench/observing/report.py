"""The pages about a run."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from statistics import median

from bench.environment import machine
from bench.overload.measure import percentile

from .measure import WAYS, Results
from .traces import STORED, Cost


def costs(results: Results) -> list[str]:
    """A table for each unit."""
    lines = []
    for unit in dict.fromkeys(unit for unit, _ in results.costs):
        base = results.costs[unit, WAYS[0].name]
        rows = ["| watched by | CPU µs | added µs | from - to | |", "|---|---:|---:|---:|---:|"]
        for way in WAYS:
            found = results.costs.get((unit, way.name))
            if found is None:
                continue
            added = sorted(a - b for a, b in zip(found, base, strict=True))
            ratio = median(a / b for a, b in zip(found, base, strict=True))
            more = ["", "", ""]
            if way is not WAYS[0]:
                more = [
                    f"{median(added):.2f}",
                    f"{added[0]:.2f} - {added[-1]:.2f}",
                    f"{ratio:.3f}x",
                ]
            rows.append(f"| {way.name} | {median(found):.2f} | {' | '.join(more)} |")
        lines += [f"A {unit}:", "", *rows, ""]
    return lines


def scrapes(results: Results) -> list[str]:
    """Return the table of the times of scrapes."""
    rows = ["| the server does | waiting | bytes | | p50, ms | p90, ms | p99, ms | worst, ms |"]
    rows.append("|---|---:|---:|---|---:|---:|---:|---:|")
    for name, found in results.scrapes.items():
        first = f"{name} | {found.waiting} | {found.size:,} | a scrape"
        for head, times in ((first, found.times), ("| | | `/health`", found.health)):
            shares = [f"{percentile(times, share):.2f}" for share in (0.5, 0.9, 0.99, 1.0)]
            rows.append(f"| {head} | {' | '.join(shares)} |")
    return rows


def stages(results: Results) -> list[str]:
    """Return the table of the cost in the dispatcher alone."""
    rows = ["| watched by | added µs a token | added µs a request |", "|---|---:|---:|"]
    rows += [f"| {name} | {a.token:.2f} | {a.request:.1f} |" for name, a in results.stages.items()]
    return rows


def side_by_side(found: Mapping[str, Sequence[Cost]], what: str) -> list[str]:
    """Return a table of costs beside those of the first, whose rounds they took turns in."""
    rows = [f"| {what} | µs a request | added | | µs a token | added | |"]
    rows.append("|---|---:|---:|---:|---:|---:|---:|")
    base = next(iter(found.values()))
    for name, costs in found.items():
        cells = [name]
        for unit in ("request", "token"):
            pairs = [(getattr(a, unit), getattr(b, unit)) for a, b in zip(costs, base, strict=True)]
            cells.append(f"{median(a for a, _ in pairs):.2f}")
            added, ratio = median(a - b for a, b in pairs), median(a / b for a, b in pairs)
            cells += ["", ""] if costs is base else [f"{added:+.2f}", f"{ratio:.3f}x"]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _written(results: Results) -> float:
    """Return milliseconds that a write of usage takes."""
    return median(each.written for each in results.watched[STORED]) / 1000


def markdown(results: Results) -> str:
    """The report."""
    rounds, found = len(next(iter(results.costs.values()))), machine()
    return "\n".join([
        "# What it costs to be watched", "",
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {found['cpu']}, "
        f"{found['cores']} cores, load {os.getloadavg()[1]:.1f}. CPU time of the gateway's "
        "process, which is the real one over a worker process that computes nothing. All ways "
        f"take turns {rounds} times, in changing "
        "order; what is *added* and the ratio are medians of the differences from *nothing* in "
        "the same round, beside them the smallest and the largest. Prometheus scrapes each 15 "
        "seconds by default.", "",
        *costs(results),
        "In the dispatcher alone, in one process and without sockets, where nothing else varies "
        "(the log goes nowhere):", "", *stages(results), "",
        "Usage and traces through all of the application, in one process and without sockets, with "
        "the CPU time of the threads that write and send, and without the collector's. A request "
        "is a chat of one token; a token is one of a stream of 200, with its share of the "
        "stream's begin and end. Medians of rounds that take turns:", "",
        *side_by_side(results.watched, "counted and kept"), "",
        f"Writing usage to the data folder, every 3 seconds: {_written(results):.1f} ms.", "",
        "## How long a scrape takes", "",
        "As OpenMetrics, which Prometheus asks for, on one connection; the embedded model on two "
        "workers of one thread, clients on the same cores. Between the scrapes `/health` is asked "
        "for, which does nothing:", "", *scrapes(results), "",
    ])  # fmt: skip
