"""The page of a run: what the gateway takes of a core, and what requests saw."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.environment import commit, machine
from bench.scale.simulate import ANSWER, MIX, RATE_PER_WORKER, Outcome
from bench.scale.workers import PREFILL_S, SLOTS, STEP_S
from bench.scheduler.measure import percentile
from bench.scheduler.report import Table
from bench.scheduler.traces import CLASSES

HTTP_REQUEST_US, HTTP_TOKEN_US = 200, 34
"""CPU of the gateway for a request and for a streamed token with HTTP and all, measured by
``bench.gateway``: what a simulation without sockets leaves out is in these."""


def cost(outcomes: Sequence[Outcome]) -> Table:
    """Return the gateway's CPU time without HTTP."""
    rows = []
    for each in outcomes:
        per_request = each.gateway_ns / max(1, each.requests) / 1000
        rows.append([
            f"{each.workers:,}", f"{each.workers * SLOTS:,}",
            f"{each.requests / each.seconds:,.0f}", f"{each.tally.tokens / each.seconds:,.0f}",
            f"{each.placing_ns / max(1, each.placed) / 1000:,.0f}",
            f"{each.counting_ns / max(1, each.placed) / 1000:,.0f}",
            f"{per_request:,.0f}",
            f"{each.core:.2f}",
            f"{with_http(each):.2f}",
        ])  # fmt: skip
    note = (
        "CPU time of the real dispatcher, queue, pool, links and codec, in microseconds for each "
        "request; *cores* is what they take of one. *With HTTP* adds what "
        f"[bench.gateway](gateway.md) measured for connections: {HTTP_REQUEST_US} µs for a "
        f"request and {HTTP_TOKEN_US} µs for a streamed token, of which a part is counted twice."
    )
    header = [
        "workers", "slots", "requests/s", "tokens/s", "placing", "counting slots", "all", "cores",
        "with HTTP",
    ]  # fmt: skip
    return Table("What the gateway takes", note, header, rows)


def with_http(outcome: Outcome) -> float:
    """Return the cores that the gateway would take with connections that stream every token."""
    requests, tokens = outcome.requests / outcome.seconds, outcome.tally.tokens / outcome.seconds
    return outcome.core + (HTTP_REQUEST_US * requests + HTTP_TOKEN_US * tokens) / 1e6


def waits(outcomes: Sequence[Outcome]) -> Table:
    """Return what requests saw."""
    rows = []
    for each in outcomes:
        cells = [_waits(each.waits[priority]) for priority in MIX]
        tally = each.tally
        rows.append([
            f"{each.workers:,}", *cells,
            f"{100 * tally.cached_tokens / max(1, tally.prompt_tokens):.0f} %",
            *(f"{100 * each.placements[reason] / max(1, each.placed):.0f} %"
              for reason in ("prefix", "spill", "load")),
        ])  # fmt: skip
    note = (
        "Seconds from arrival to the first slot, p50 / p99, and the share of the prompts' tokens "
        "that a worker had computed before; then why requests went where they went."
    )
    names = [CLASSES[priority] for priority in MIX]
    header = ["workers", *names, "prefix hits", "prefix", "spill", "load"]
    return Table("What requests saw", note, header, rows)


def _waits(values: Sequence[float]) -> str:
    if not values:
        return "none"
    return f"{percentile(values, 0.5):.2f} / {percentile(values, 0.99):.2f}"


def write(path: Path, tables: Sequence[Table]) -> None:
    """Write the page."""
    facts = machine()
    preface = (
        f"# Where one gateway ends\n\n{datetime.now(UTC):%Y-%m-%d}, {facts['cpu']}, "
        f"{facts['system']}, Forge {commit()}. In virtual time: workers with {SLOTS} slots that "
        f"take {1000 * STEP_S:g} ms for a step and {1000 * PREFILL_S:g} ms for a token of a "
        f"prompt, conversations whose prompts grow from 600 to 1,700 tokens, {ANSWER} tokens an "
        f"answer, {RATE_PER_WORKER} requests a second for each worker. `python -m bench.scale`.\n"
    )
    path.write_text("\n".join([preface, *(table.markdown() for table in tables)]), "utf-8")
