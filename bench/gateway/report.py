"""The pages about a run: tables of medians, and a plot of the costs."""

from __future__ import annotations

import platform
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median

from .measure import CHAT, ECHO, INFER, LATENCY_CLIENTS, PACE_S, STREAMS, Lag, Rate, Results
from .stages import Stage, Stages

NAMES = {ECHO: "bare echo", CHAT: "`/v1/chat/completions`", INFER: "`/infer`"}


def middle(rates: list[Rate], value: Callable[[Rate], float]) -> float:
    """The median of the rounds."""
    return median(map(value, rates))


def ratio(rates: list[Rate], base: list[Rate], value: Callable[[Rate], float]) -> float:
    """The median of the rounds' ratios: what else the machine does in a round concerns both."""
    return median(value(a) / value(b) for a, b in zip(rates, base, strict=True))


def _table(columns: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    lines = [columns, ("---", *["---:"] * (len(columns) - 1)), *rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def closed(results: Results) -> list[str]:
    """Requests one after another."""
    columns = (
        "", "connections", "requests/s", "of the echo", "p50, ms", "p99, ms",
        "CPU µs a request", "of the echo", "failed",
    )  # fmt: skip
    rows = []
    for (way, number), rates in results.closed.items():
        base = results.closed[ECHO, number]
        rows.append([
            NAMES[way], str(number),
            f"{middle(rates, lambda r: r.per_second):,.0f}",
            f"{ratio(rates, base, lambda r: r.per_second):.2f}x",
            f"{middle(rates, lambda r: r.found.p50):.2f}",
            f"{middle(rates, lambda r: r.found.p99):.2f}",
            f"{middle(rates, lambda r: r.cpu_us):.0f}",
            f"{ratio(rates, base, lambda r: r.cpu_us):.2f}x",
            str(sum(r.found.failed for r in rates)),
        ])  # fmt: skip
    return _table(columns, rows)


def spread(results: Results) -> list[str]:
    """Latency where nobody queues."""
    columns = ("", "requests/s", "p50, ms", "added p50, ms", "p99, ms", "failed")
    rows = []
    for way, rates in results.spread.items():
        added = median(
            r.found.p50 - e.found.p50 for r, e in zip(rates, results.spread[ECHO], strict=True)
        )
        rows.append([
            NAMES[way], f"{middle(rates, lambda r: r.per_second):.0f}",
            f"{middle(rates, lambda r: r.found.p50):.2f}", "" if way == ECHO else f"{added:.2f}",
            f"{middle(rates, lambda r: r.found.p99):.2f}",
            str(sum(r.found.failed for r in rates)),
        ])  # fmt: skip
    return _table(columns, rows)


def streams(results: Results) -> list[str]:
    """Streamed tokens."""
    ways = {
        f"{STREAMS} streams, a token each {1000 * PACE_S:.0f} ms": results.paced,
        f"{STREAMS} streams, as fast as they go": results.flood,
    }
    rows = [
        [
            name, f"{middle(rates, lambda r: r.per_second):,.0f}",
            f"{middle(rates, lambda r: r.cpu_us):.1f}", str(sum(r.found.failed for r in rates)),
        ]
        for name, rates in ways.items()
    ]  # fmt: skip
    return _table(("", "tokens/s", "CPU µs a token", "failed"), rows)


def crowd(results: Results) -> list[str]:
    """Many streams at once."""
    found = results.crowd
    assert found is not None
    columns = (
        "streams at once", "failed", "tokens/s", "MiB before", "MiB while all are open",
        "KiB each", "loop lag p99, ms", "worst, ms",
    )  # fmt: skip
    row = [
        f"{found.streams:,}", str(found.failed), f"{found.tokens_per_second:,.0f}",
        f"{found.rss_before / 1024:.0f}", f"{found.rss / 1024:.0f}", f"{found.each_kib:.1f}",
        *_lag(found.lag),
    ]  # fmt: skip
    return _table(columns, [row])


def _lag(found: Lag) -> tuple[str, str]:
    return f"≤ {found.p99:g}", f"≤ {found.worst:g}"


def lags(results: Results) -> list[str]:
    """The loop's lag beside real workers."""
    rows = [
        [name, *_lag(Lag(median(each.p99 for each in found), max(each.worst for each in found)))]
        for name, found in results.lags.items()
    ]
    return _table(("the workers do", "loop lag p99, ms", "worst, ms"), rows)


def stages(found: Stages) -> list[str]:
    """Return the table of the stages' times."""

    def table(of: str, rows: list[Stage]) -> list[str]:
        return _table((of, "µs"), [[stage.name, f"{stage.us:.2f}"] for stage in rows])

    return [
        *table("of a request", found.request),
        "The same request by the room whose code runs; libraries in C count for the room that "
        "calls them. These add up:", "", *table("of a request, by room", found.rooms),
        *table("of a streamed token", found.token),
    ]  # fmt: skip


def markdown(results: Results, found: Stages) -> str:
    """The report."""
    return "\n".join([
        "# What the gateway costs", "",
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()} on {platform.system()} "
        f"{platform.machine()}. The gateway is the real one: HTTP, heap, dispatcher, and a socket "
        "to a worker process, which computes nothing. Beside it, in turns, a bare Starlette "
        "application that echoes the same JSON under the same uvicorn settings. Clients and "
        "servers share the machine, so the rates say what is left for the server; its CPU time "
        "does not depend on that. Medians of the rounds; ratios are those of the same round.", "",
        "## Requests", "", "One after another on each connection, a token each:", "",
        *closed(results),
        f"{LATENCY_CLIENTS} clients with pauses between their requests, so that none waits for "
        "another:", "", *spread(results),
        "## Streams", "", *streams(results),
        "Many at once, a token a second each (two if quick); *lag* is how late the event loop "
        "is, as upper bounds of the histogram's buckets:", "", *crowd(results),
        "## The loop's lag while all cores compute", "",
        "Two workers of one thread each, the embedded model:", "", *lags(results),
        "## Where the time goes", "",
        "Each stage by itself in one process, without sockets:", "", *stages(found),
    ])  # fmt: skip
