"""The page of a run: what was measured, on what, and what of the argument it supports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from bench.connections.measure import Latency
from bench.environment import commit, machine, versions

from . import claims
from .claims import Claim
from .compute import CLIENTS, Compute
from .connections import STUDY_RATES, Connections
from .inference import WORKERS
from .order import OVERLOAD, ROUNDS, Order, summary
from .sites import STUDY_S, Sites

INTRO = (
    "Threads or async? The study project's author measured the first on ten web sites and the "
    "second on a server that reverses text, and then wrote an inference server, where neither "
    "waits for the network any more. Four experiments repeat his steps and take the last one."
)
COMPUTING = (
    "The two experiments that need a model, on one whose weights do not fit into a cache: there a "
    "token waits for them to be read, and those of a batch wait together."
)


@dataclass(frozen=True, slots=True)
class Results:
    """All four, or the two that need a model."""

    sites: Sites | None
    connections: Connections | None
    compute: Compute
    order: Order

    def claims(self) -> dict[str, list[Claim]]:
        """Return the claims that each supports, by its heading."""
        found: dict[str, list[Claim]] = {}
        if self.sites is not None:
            found["Ten sites"] = claims.of_sites(self.sites)
        if self.connections is not None:
            found["Connections"] = claims.of_connections(self.connections)
        found["Compute"] = list(claims.of_compute(self.compute))
        found["Order"] = claims.of_order(self.order)
        return found

    def pages(self) -> Iterator[list[str]]:
        """Yield the tables of each, in the same order."""
        if self.sites is not None:
            yield _sites(self.sites)
        if self.connections is not None:
            yield _connections(self.connections)
        yield _compute(self.compute)
        yield _order(self.order)


def markdown(results: Results, load: float, image: str, *, options: str) -> str:
    """The report. ``load`` is the machine's load average before the run."""
    on, used = machine(), versions()
    whole = results.sites is not None
    lines = [
        "# Threads, event loop, processes: what each is good for"
        + ("" if whole else f", on {results.compute.subject.name}"), "",
        f"{datetime.now(UTC):%Y-%m-%d}, `python -m bench.concurrency{options}`,"
        f" Forge {commit()}, Python {used['python']}, uvicorn {used['uvicorn']}, llama-cpp-python "
        f"{used['llama-cpp-python']}; {on['cores']} cores ({on['cpu']}), {on['system']}, load "
        f"before {load:.1f}. Clients and servers share the machine.", "",
        INTRO if whole else COMPUTING, "", f"![all experiments]({image})", "",
    ]  # fmt: skip
    for (heading, found), page in zip(results.claims().items(), results.pages(), strict=True):
        lines += [f"## {heading}", "", *page, *map(_line, found), ""]
    return "\n".join(lines)


def _line(claim: Claim) -> str:
    return f"- **{claim.verdict}:** {claim.text} {claim.seen}"


def _table(columns: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    lines = [columns, ("---", *["---:"] * (len(columns) - 1)), *rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def _sites(found: Sites) -> list[str]:
    delays = ", ".join(f"{delay:g}" for delay in found.delays)
    rows = [
        [
            way.way, f"{way.seconds:.2f}", f"{way.seconds / max(found.delays):.2f}x",
            f"{way.seconds / sum(found.delays):.2f}x", str(way.failed),
            f"{STUDY_S[way.way]:.1f}" if way.way in STUDY_S else "",
        ]
        for way in found.ways
    ]  # fmt: skip
    return [
        f"A local server answers ten requests after {delays} s, fetched with httpx. To be expected:"
        f" the sum of the delays, {sum(found.delays):.1f} s, or the longest of them, "
        f"{max(found.delays):g} s.", "",
        *_table(
            ("", "seconds", "of the longest", "of the sum", "failed", "study project's"), rows
        ),
    ]  # fmt: skip


def _connections(found: Connections) -> list[str]:
    lines = [
        f"The study project's `POST /reverse`, load by {found.tool}. All servers keep to "
        "HTTP; *sequential* hangs up after each answer, for a client that stays would keep all "
        "others waiting. The study project "
        f"measured {STUDY_RATES['threads']:,} requests/s with threads and "
        f"{STUDY_RATES['asyncio']:,} with asyncio at 1,000 connections, in its way of HTTP. "
        "Latency in milliseconds; by the built-in client it includes the requests that were never "
        "answered.", "",
    ]  # fmt: skip
    for wait_s in sorted({rate.wait_s for rate in found.rates}):
        rates = [rate for rate in found.rates if rate.wait_s == wait_s]
        lines += [
            "Nothing to wait for:" if not wait_s else
            f"{1000 * wait_s:.0f} ms of I/O in each request (`time.sleep` in the "
            "study project):", "",
            *_table(
                ("", "connections", "requests/s", "p50", "p99", "errors"),
                [[r.server, f"{r.connections:,}", f"{r.requests_s:,.0f}", f"{r.p50:,.1f}",
                  f"{r.p99:,.1f}", f"{r.errors:,}"] for r in rates],
            ),
        ]  # fmt: skip
    rows = [
        [e.server, e.request, f"{e.found.answered:,}", f"{e.found.unsure:,}",
         f"{e.found.broken:,}", f"{e.found.refused:,}"]
        for e in found.errors
    ]  # fmt: skip
    return [
        *lines,
        "What it costs to read 1,024 bytes once and to leave out Content-Length:", "",
        *_table(
            ("", "request", "answered", "length unknown", "no answer", "other status"), rows
        ),
    ]  # fmt: skip


def _ms(latency: Latency | None) -> str:
    return "none" if latency is None else f"{latency.p50:,.1f} / {latency.p99:,.1f}"


def _compute(found: Compute) -> list[str]:
    digits = 1 if found.subject.file is None else 2
    rows = [
        [c.way, f"{c.requests_s:,.{digits}f}", f"{c.p50:,.0f}", f"{c.p99:,.0f}", _ms(c.alone),
         _ms(c.health), f"{c.cores:.2f}", f"{c.cpu_ms:,.1f}", f"{c.memory_mib:,.0f}",
         str(c.errors)]
        for c in found.computed
    ]  # fmt: skip
    crashes = [[c.way, str(c.failed), str(c.failed_after)] for c in found.crashes]
    waiting = [
        [w.server, f"{w.clients:,}", f"{w.lost:,}", f"{w.threads:,}", f"{w.each_kib:.1f}",
         f"{w.stacks_mib / 1024:,.2f}", _ms(w.health)]
        for w in found.waiting
    ]  # fmt: skip
    lines = [
        f"{CLIENTS} clients ask for {found.subject.tokens} tokens of {found.subject.name} each, one"
        f" request after another. The pools have {WORKERS} members of one thread and compute a "
        "request at a time; Forge has as many workers, with one slot each and with eight, and "
        "drafts in the last row alone. Times in milliseconds, p50 / p99 where there are two; "
        "memory is PSS of all processes.", "",
        *_table(
            ("", "requests/s", "p50", "p99", "health alone", "health under load", "cores busy",
             "CPU ms a request", "MiB", "errors"), rows,
        ),
    ]  # fmt: skip
    if not crashes:
        return lines
    return [
        *lines,
        f"SIGSEGV to a process that computes, while {CLIENTS} clients wait:", "",
        *_table(("", "failed", f"failed of {CLIENTS} that came later"), crashes),
        "So many clients wait for a server that computes something else (the study "
        "project expects 5,000 threads to end in an out-of-memory error):", "",
        *_table(
            ("", "clients", "lost", "threads", "KiB resident each", "GiB reserved",
             "health, ms"), waiting,
        ),
    ]  # fmt: skip


def _order(order: Order) -> list[str]:
    rows = [
        [class_, server, f"{count:,}", str(refused), f"{p50:.2f}", f"{p99:.2f}", f"{longest:.2f}"]
        for class_, server, count, refused, p50, p99, longest in summary(order)
    ]
    return [
        f"For {order.seconds:g} s requests of {order.subject.order_tokens} tokens arrive (Poisson, "
        f"10 % urgent, 60 % normal, 30 % batch) at {OVERLOAD:g} times what each can do: "
        f"{order.capacity['pool']:.2f} requests/s the pool, {order.capacity['Forge']:.2f} Forge "
        f"with eight slots for each worker (medians of {ROUNDS} rounds of "
        f"{order.subject.calibrate} requests at once, in turns). An urgent request may overtake "
        "normal ones that came up to five seconds before it (the difference of their priorities by "
        "the aging rate). Seconds from the request to its answer:", "",
        *_table(("class", "server", "requests", "refused", "p50", "p99", "longest"), rows),
    ]  # fmt: skip
