"""Claims of the experiments, and whether they hold. Pure: from figures to sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .compute import CLIENTS, Compute
from .connections import STUDY_RATES, Connections
from .order import Order
from .sites import STUDY_S, Sites

MANY = 2.0
"""A ratio that can't be noise."""
CLOSE = 1.25
"""Up to this, two figures count as alike."""
NO_LOSS = 0.95
"""Of a rate, from which on it counts as kept: rounds differ by a few hundredths."""

OVERHEAD_S = 0.2
"""Allowance for making ten connections, and threads for them."""


class Claim(NamedTuple):
    """A sentence of the argument, and what was seen."""

    text: str
    holds: bool
    seen: str

    @property
    def verdict(self) -> str:
        return "Supported" if self.holds else "Not supported"


def of_sites(sites: Sites) -> list[Claim]:
    """Waiting is what threads and event loops are good for."""
    total, longest = sum(sites.delays), max(sites.delays)
    alone = sites.seconds("one after another")
    threads, loop = sites.seconds("a thread each"), sites.seconds("asyncio")
    study = " and ".join(f"{seconds:.1f} s" for seconds in STUDY_S.values())
    return [
        Claim(
            "one after another takes the sum of the delays, a thread each the longest of them.",
            alone <= CLOSE * total + OVERHEAD_S and threads <= CLOSE * longest + OVERHEAD_S,
            f"Expected {total:.1f} s and {longest:.1f} s, measured {alone:.1f} s and "
            f"{threads:.1f} s; the study project, over the internet, measured {study}.",
        ),
        Claim(
            "one event loop waits for ten sites as well as ten threads do.",
            loop <= CLOSE * threads,
            f"{loop:.2f} s against {threads:.2f} s.",
        ),
    ]


def of_connections(found: Connections) -> list[Claim]:
    """Connections are cheaper in an event loop, and HTTP is worth keeping to."""
    most = max(rate.connections for rate in found.rates)
    waits = sorted({rate.wait_s for rate in found.rates})
    loop, threads = (found.rate(name, most, waits[0]) for name in ("asyncio", "threads"))
    ratio = loop.requests_s / max(1e-9, threads.requests_s)
    study = STUDY_RATES["asyncio"] / STUDY_RATES["threads"]
    claims = [
        Claim(
            f"with {most:,} connections asyncio serves more than a thread for each does.",
            ratio > CLOSE,
            f"{loop.requests_s:,.0f} against {threads.requests_s:,.0f} requests/s, {ratio:.1f}x "
            f"(p99 {loop.p99:,.0f} against {threads.p99:,.0f} ms), where both keep connections "
            f"open; the study project, which made a thread for every request, saw {study:.1f}x.",
        )
    ]
    if len(waits) > 1:
        alone, *others = (
            found.rate(name, most, waits[-1]) for name in ("sequential", "threads", "asyncio")
        )
        best = max(rate.requests_s for rate in others)
        claims.append(
            Claim(
                f"when each request waits {1000 * waits[-1]:.0f} ms for I/O, waiting together is "
                "what counts, and whether threads or a loop do it is secondary.",
                best > MANY * alone.requests_s
                and min(rate.requests_s for rate in others) > MANY * alone.requests_s,
                f"Sequential {alone.requests_s:,.0f}, threads {others[0].requests_s:,.0f}, asyncio "
                f"{others[1].requests_s:,.0f} requests/s.",
            )
        )
    theirs = [e for e in found.errors if e.server.startswith("study")]
    ours = [e for e in found.errors if not e.server.startswith("study")]
    good = sum(e.found.answered for e in theirs)
    claims.append(
        Claim(
            "one read of 1,024 bytes and no Content-Length is no HTTP.",
            good == 0 and all(e.found.errors == 0 for e in ours),
            f"Of {sum(e.found.answered + e.found.errors for e in theirs):,} requests to the study "
            "project's "
            f"servers {good:,} were answered so that a client can be sure; of "
            f"{sum(e.found.answered + e.found.errors for e in ours):,} to the ones that keep to "
            f"it, all but {sum(e.found.errors for e in ours):,}.",
        )
    )
    return claims


def of_compute(found: Compute) -> Iterator[Claim]:
    """Compute belongs elsewhere."""
    inline, threads, pool = (found.way(w) for w in ("in the event loop", "threads", "processes"))
    forge = found.way("Forge")
    yield from (
        Claim(
            "an event loop that computes serves no other client meanwhile.",
            inline.health.p99 > MANY * pool.health.p99,
            f"GET /health at p99: {inline.health.p99:,.1f} ms in the loop, "
            f"{threads.health.p99:,.1f} with threads, {pool.health.p99:,.1f} with processes, "
            f"{forge.health.p99:,.1f} with Forge ({forge.alone.p99:,.1f} without load).",
        ),
        Claim(
            "llama.cpp releases the GIL, so threads compute nearly as much as processes.",
            threads.requests_s > pool.requests_s / CLOSE,
            f"{threads.requests_s:,.1f} against {pool.requests_s:,.1f} requests/s, on "
            f"{threads.cores:.1f} and {pool.cores:.1f} cores.",
        ),
    )
    yield _batches(found)
    if found.crashes:
        yield from _robust(found)


def _batches(found: Compute) -> Claim:
    pool, forge = found.way("processes"), found.way("Forge")
    fair, plain = found.way("Forge, one slot each"), found.way("Forge, no drafts")
    return Claim(
        "batches bring more than it costs to hear of every token."
        if found.subject.file is None
        else f"where weights are what a token waits for, a batch of eight pays ({MANY:g} times).",
        plain.requests_s > pool.requests_s * (1 if found.subject.file is None else MANY),
        "A pool tells only results; Forge's workers tell each token, for it may be streamed, must "
        "survive them, and may be the last that its client waits for. With a slot each that is "
        f"{fair.requests_s:,.2f} requests/s against {pool.requests_s:,.2f}, with eight "
        f"{plain.requests_s:,.2f} ({plain.requests_s / pool.requests_s:.2f}x), and with drafts, "
        "which find that greedy answers of such a model repeat themselves, "
        f"{forge.requests_s:,.2f}.",
    )


def _robust(found: Compute) -> list[Claim]:
    crashes = {crash.way: crash for crash in found.crashes}
    thread_each, waits = found.waiting
    return [
        Claim(
            "what processes add is that a crash stays with the process that crashed.",
            crashes["threads"].failed_after == CLIENTS and crashes["Forge"].failed_after == 0,
            "Requests that failed at the crash, and of those that came later, of "
            f"{CLIENTS} each: "
            + ", ".join(f"{c.way} {c.failed} and {c.failed_after}" for c in found.crashes)
            + ".",
        ),
        Claim(
            f"{waits.clients:,} clients who wait need no threads, but a queue.",
            waits.lost == 0 and waits.health is not None and waits.threads < 100,
            f"A thread each: {thread_each.threads:,} threads, {thread_each.each_kib:.0f} KiB "
            f"resident for each client and {thread_each.stacks_mib / 1024:,.1f} GiB reserved, "
            f"{thread_each.lost:,} lost. Forge: {waits.threads:,} in all, {waits.each_kib:.0f} "
            f"KiB and {waits.stacks_mib / 1024:,.1f} GiB, {waits.lost:,} lost. "
            + (
                "The study project expected 5,000 threads to run out of memory: it is reserved, "
                "not used, "
                "so they don't where the system lets them reserve."
                if not thread_each.lost
                else "The study project expected that to fail, and it does."
            ),
        ),
    ]


def of_order(order: Order) -> list[Claim]:
    """The order decides which client waits."""
    one, mixed = order.classes["one class"], order.classes["mixed"]
    ours, theirs = order.capacity["Forge"], order.capacity["pool"]
    pool, forge = (order.percentile(name, "urgent", 0.99) for name in ("pool", "Forge"))
    batch = order.times("Forge", "batch")
    longest = max(order.times("Forge", "normal"), default=0.0)
    return [
        Claim(
            "a queue that knows priorities serves urgent work first, overloaded or not.",
            forge < pool / MANY,
            f"p99 of urgent requests: {pool:.2f} s in the pool, {forge:.2f} s in Forge.",
        ),
        Claim(
            "no request starves.",
            len(batch) == sum(s.class_ == "batch" for s in order.found["Forge"]),
            f"All {len(batch):,} requests of the lowest class were served, the last after "
            f"{max(batch, default=0.0):.1f} s (normal: {longest:.1f} s).",
        ),
        Claim(
            f"a server that knows every token can do as much as a pool ({NO_LOSS:g}x at least).",
            ours >= NO_LOSS * theirs,
            f"{ours:,.2f} against {theirs:,.2f} requests/s, {ours / theirs:.2f}x.",
        ),
        Claim(
            f"the order costs no throughput ({NO_LOSS:g}x at least).",
            mixed >= NO_LOSS * one,
            f"Of the same arrivals {mixed:,.2f} requests/s in three classes, some of them parked "
            f"for others, and {one:,.2f} in one: {mixed / one:.2f}x.",
        ),
    ]
