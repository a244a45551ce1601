"""The results on one model as JSON, a page of tables, and plots."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.environment import commit, machine, versions

from .experiment import CEILING, Found
from .measure import Figures, Ratio, medians, ratio

PEER = "llama-server"
NOTE = (
    "Every system is alone on the machine when it is measured, with the same file, slots, KV "
    "cells, threads, batch and prompts, and each round starts them in another order. Figures are "
    "medians of the rounds; ratios are taken round by round (median, and least to most) to that "
    f"way of {PEER} which gives the most tokens a second. Times in seconds, as the client sees "
    "them: TTFT from the request to the first text, ITL between two pieces of text, E2E to the "
    "end of the answer. CPU is that of all the system's processes for 1,000 tokens of output; "
    "memory is what they hold afterwards. *forge* has a worker for each thread, which share slots "
    "and cells evenly; *engine* is one worker with all of it, driven over its link without a "
    f"gateway. *{CEILING}*: all prompts at once and then all answers, without a server. In *a "
    "long prompt into streams* only the pauses of the running streams while it is computed count."
)
COLUMNS = {
    "tokens/s": ("tokens_per_s", 1), "requests/s": ("requests_per_s", 2),
    "TTFT p50": ("ttft_p50", 3), "p99": ("ttft_p99", 3), "max": ("ttft_max", 3),
    "ITL p50": ("itl_p50", 4), "p99 ": ("itl_p99", 3), "worst gap": ("itl_max", 3),
    "E2E p50": ("e2e_p50", 2), "p99  ": ("e2e_p99", 2), "max ": ("e2e_max", 2),
    "CPU s": ("cpu_s_per_1000_tokens", 2), "RSS MiB": ("rss_mib", 0), "PSS MiB": ("pss_mib", 0),
    "errors": ("errors", 0),
}  # fmt: skip
"""Heading: which figure, and with how many digits."""
RATIOS = {
    "tokens/s": "tokens_per_s", "TTFT p50": "ttft_p50", "ITL p99": "itl_p99",
    "worst gap": "itl_max", "TTFT of the long prompt": "long_ttft",
}  # fmt: skip

PRIVATE = {"model", "models", "out", "llama_bin"}
"""Options that are folders of the machine, of no use to others."""


@dataclass
class Result:
    """What was found on a model, and under which circumstances."""

    model: str
    """A name or a path."""
    options: dict[str, Any]
    missing: dict[str, str]
    """Why which systems are not there."""
    load: float = 0.0
    """Load average of the machine before the run: other people's work."""
    found: Found = field(default_factory=dict)
    capacity: float = math.nan
    """Requests per second of the pilot, which Poisson arrivals are parts of."""
    when: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d}")

    @property
    def slug(self) -> str:
        """The model's part of the names of files."""
        return Path(self.model).stem.replace(" ", "-")

    @property
    def rounds(self) -> int:
        """How many are complete for everybody; the last may be under way."""
        every = [len(rounds) for systems in self.found.values() for rounds in systems.values()]
        return min(every, default=0)


def peer(systems: dict[str, list[Figures]]) -> str | None:
    """The way of the peer that gives the most tokens a second."""
    ways = [name for name in systems if name.startswith(PEER)]
    return max(ways, key=lambda name: medians(systems[name])["tokens_per_s"], default=None)


def ratios(systems: dict[str, list[Figures]], name: str) -> dict[str, Ratio]:
    """Of one system to the best way of the peer, by heading; those that make sense."""
    base = peer(systems)
    if base is None or name == base:
        return {}
    found = {h: ratio(systems[name], systems[base], figure) for h, figure in RATIOS.items()}
    return {heading: value for heading, value in found.items() if value is not None}


def ceilings(systems: dict[str, list[Figures]], name: str) -> Ratio | None:
    """Tokens a second of one system as a part of the best that llama.cpp gives without a server."""
    ways = [way for way in systems if way.startswith(CEILING)]
    if not ways or name in ways:
        return None
    best = max(ways, key=lambda way: medians(systems[way])["tokens_per_s"])
    return ratio(systems[name], systems[best], "tokens_per_s")


def as_json(result: Result) -> dict[str, Any]:
    """Everything: each round, the medians and the ratios."""
    options = {name: value for name, value in result.options.items() if name not in PRIVATE}
    return {
        "model": result.slug, "when": result.when, "commit": commit(), "machine": machine(),
        "versions": versions(), "load_before": result.load, "options": options,
        "missing": result.missing, "capacity_requests_per_s": result.capacity,
        "workloads": {
            workload: {
                name: {
                    "median": medians(rounds), "rounds": rounds,
                    "ratios": {h: asdict(r) for h, r in ratios(systems, name).items()},
                }
                for name, rounds in systems.items()
            }
            for workload, systems in result.found.items()
        },
    }  # fmt: skip


def markdown(result: Result) -> str:
    """The page."""
    options, on, used = result.options, machine(), versions()
    lines = [
        f"# Serving {result.slug}, beside others", "",
        f"{result.when}, Forge {commit()}, Python {used['python']}, llama-cpp-python "
        f"{used['llama-cpp-python']}, {on['cores']} cores ({on['cpu']}), load before "
        f"{result.load:.1f}. {options['slots']} slots, {options['ctx']} cells, "
        f"{options['threads']} threads, batch {options['batch']}, {result.rounds} rounds, "
        f"{'/'.join(map(str, options['plan'].waves.values()))} requests of each client in closed "
        f"loops, {options['plan'].words} words in, {options['plan'].tokens} tokens out. {NOTE}", "",
    ]  # fmt: skip
    if result.missing:
        why = (f"{name} ({reason.splitlines()[0]})" for name, reason in result.missing.items())
        lines += [f"Not measured: {', '.join(why)}.", ""]
    lines += [
        f"Capacity in the pilot: {shown(result.capacity, 2) or '-'} requests/s.", "",
        f"![tokens per second](serving-{result.slug}-speed.png)", "",
        f"![pauses](serving-{result.slug}-pauses.png)", "",
    ]  # fmt: skip
    for workload, systems in result.found.items():
        if systems:
            lines += [f"## {workload}", "", *_workload(systems), ""]
    return "\n".join(lines)


def _workload(systems: dict[str, list[Figures]]) -> list[str]:
    lines = [f"| system | {' | '.join(COLUMNS)} |", f"|---|{'---:|' * len(COLUMNS)}"]
    for name, rounds in systems.items():
        found = medians(rounds)
        cells = [shown(found.get(figure), digits) for figure, digits in COLUMNS.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name, rounds in systems.items():
        parts = [f"{heading} {value}" for heading, value in ratios(systems, name).items()]
        if (part := ceilings(systems, name)) is not None:
            parts.append(f"of {CEILING} {part}")
        if "long_ttft" in medians(rounds):
            parts.append(f"TTFT of the long prompt {medians(rounds)['long_ttft']:.2f} s")
        if parts:
            lines += ["", f"{name}: {', '.join(parts)}."]
    return lines


def shown(value: float | None, digits: int) -> str:
    """Nothing for what could not be seen."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def table(result: Result) -> Table:
    """The short of it for a terminal."""
    heads = ("workload", "system", "tokens/s", "ratio", "TTFT p50", "worst gap")
    out = Table(*heads, title=result.slug)
    for workload, systems in result.found.items():
        for name, rounds in systems.items():
            middle, beside = medians(rounds), ratios(systems, name)
            out.add_row(
                workload, name, shown(middle["tokens_per_s"], 1),
                f"{beside['tokens/s'].median:.2f}" if "tokens/s" in beside else "",
                shown(middle.get("ttft_p50"), 3), shown(middle.get("itl_max"), 3),
            )  # fmt: skip
    return out


def write(result: Result, out: Path) -> None:
    """``serving-MODEL``: ``.json``, ``.md`` and two images."""
    from .plots import plot_pauses, plot_speed

    def plain(value: object) -> object:
        if is_dataclass(value) and not isinstance(value, type):
            return asdict(value)
        return str(value)

    text = json.dumps(as_json(result), default=plain, indent=1)
    name = f"serving-{result.slug}"
    (out / f"{name}.json").write_text(text.replace("NaN", "null") + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text(markdown(result), encoding="utf-8")
    plot_speed(result.found, out / f"{name}-speed.png")
    plot_pauses(result.found, out / f"{name}-pauses.png")
