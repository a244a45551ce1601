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
from .styles import HIGHER, PEER, Style
from .workloads import Plan

PLAIN = "forge-no-drafts"
PRIVATE = {"model", "models", "out", "llama_bin"}
"""Options that are folders of the machine, of no use to others."""


@dataclass
class Result:
    """The findings on a model, and their circumstances."""

    model: str
    """A name or a path."""
    style: Style
    options: dict[str, Any]
    missing: dict[str, str]
    """Systems that are not there, with the reasons."""
    load: float = 0.0
    """Load average of the machine before the run: other people's work."""
    found: Found = field(default_factory=dict)
    capacity: float = math.nan
    """Requests per second of the pilot, which Poisson arrivals are parts of."""
    left_out: str = ""
    """Reasons why workloads are missing, if some are."""
    earlier: list[dict[str, Any]] = field(default_factory=list)
    """The circumstances of runs that this one adds to."""
    when: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d}")

    @property
    def slug(self) -> str:
        """The model's part of the names of files."""
        return Path(self.model).stem.replace(" ", "-")

    @property
    def name(self) -> str:
        """Of the files, without what follows the dot."""
        return f"{self.style.prefix}-{self.slug}"

    @property
    def rounds(self) -> str:
        """Return how many there are, least to most; the last may be under way."""
        every = [len(rounds) for systems in self.found.values() for rounds in systems.values()]
        least, most = min(every, default=0), max(every, default=0)
        return f"{least} round{'s' * (least != 1)}" if least == most else f"{least}-{most} rounds"

    @property
    def unseen(self) -> dict[str, str]:
        """Return the systems of which there are no rounds, earlier ones included."""
        seen = {name for systems in self.found.values() for name in systems}
        return {name: why for name, why in self.missing.items() if name not in seen}


def peer(systems: dict[str, list[Figures]], figure: str) -> str | None:
    """The way of the peer that is best in a figure."""
    found = {
        name: value for name, rounds in systems.items()
        if name.startswith(PEER) and not math.isnan(value := medians(rounds).get(figure, math.nan))
    }  # fmt: skip
    best = max if figure in HIGHER else min
    return best(found, key=found.__getitem__) if found else None


def ratios(systems: dict[str, list[Figures]], name: str, style: Style) -> dict[str, Ratio]:
    """Of one system to the best way of the peer in each figure, by heading; those that make sense.

    Where there is one without drafts, also to that.
    """
    found = {}
    for heading, figure in style.ratios.items():
        base = peer(systems, figure)
        if base not in (None, name):
            found[heading] = ratio(systems[name], systems[base], figure)
    if PLAIN in systems and name != PLAIN and not name.startswith((PEER, CEILING)):
        found[f"tokens/s of {PLAIN}"] = ratio(systems[name], systems[PLAIN], "tokens_per_s")
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
        "earlier_runs": result.earlier, "missing": result.unseen,
        "capacity_requests_per_s": result.capacity,
        "workloads": {
            workload: {
                name: {
                    "median": medians(rounds), "rounds": rounds,
                    "ratios": {
                        h: asdict(r) for h, r in ratios(systems, name, result.style).items()
                    },
                }
                for name, rounds in systems.items()
            }
            for workload, systems in result.found.items()
        },
    }  # fmt: skip


def markdown(result: Result) -> str:
    """The page."""
    lines = [
        result.style.title.format(result.slug), "",
        f"{circumstances(result)} {result.style.note}", "",
    ]  # fmt: skip
    if missing := result.unseen:
        why = (f"{name} ({reason.splitlines()[0]})" for name, reason in missing.items())
        lines += [f"Not measured: {', '.join(why)}.", ""]
    if result.left_out:
        lines += [result.left_out, ""]
    if not math.isnan(result.capacity):
        lines += [f"Capacity in the pilot: {shown(result.capacity, 2)} requests/s.", ""]
    lines += [
        f"![tokens per second]({result.name}-speed.png)", "",
        f"![pauses]({result.name}-pauses.png)", "", *_summary(result),
    ]  # fmt: skip
    for workload, systems in result.found.items():
        if systems:
            lines += [f"## {workload}", "", *_workload(systems, result.style), ""]
    return "\n".join(lines)


def circumstances(result: Result) -> str:
    """Return the date, the machine, and the size of the run."""
    options, on, used = result.options, machine(), versions()
    plan = options["plan"]
    said = [
        result.when, f"Forge {commit()}", f"Python {used['python']}",
        f"llama-cpp-python {used['llama-cpp-python']}", f"{on['cores']} cores ({on['cpu']})",
        f"load before {result.load:.1f}. {options['ctx']} cells", f"{options['threads']} threads",
        result.rounds,
    ]  # fmt: skip
    if isinstance(plan, Plan):
        each = "/".join(map(str, plan.waves.values()))
        said += [
            f"{options['slots']} slots", f"batch {options['batch']}",
            f"{each} requests of each client in closed loops", f"{plan.words} words in",
            f"{plan.tokens} tokens out",
        ]  # fmt: skip
    return f"{', '.join(said)}."


def _summary(result: Result) -> list[str]:
    """Ratios of all systems that are not the peer itself; nothing without a peer."""
    headings, rows = [*result.style.ratios], []
    for workload, systems in result.found.items():
        for name in systems:
            if not name.startswith((PEER, CEILING)):
                beside = ratios(systems, name, result.style)
                cells = [f"{beside[h].median:.2f}" if h in beside else "" for h in headings]
                if any(cells):
                    rows.append(f"| {workload} | {name} | {' | '.join(cells)} |")
    if not rows:
        return []
    head = f"| workload | ratios of | {' | '.join(headings)} |"
    return [head, f"|---|---|{'---:|' * len(headings)}", *rows, ""]


def _workload(systems: dict[str, list[Figures]], style: Style) -> list[str]:
    lines = [f"| system | {' | '.join(style.columns)} |", f"|---|{'---:|' * len(style.columns)}"]
    for name, rounds in systems.items():
        found = medians(rounds)
        cells = [shown(found.get(figure), digits) for figure, digits in style.columns.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name, rounds in systems.items():
        parts = [f"{heading} {value}" for heading, value in ratios(systems, name, style).items()]
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
            middle, beside = medians(rounds), ratios(systems, name, result.style)
            out.add_row(
                workload, name, shown(middle["tokens_per_s"], 1),
                f"{beside['tokens/s'].median:.2f}" if "tokens/s" in beside else "",
                shown(middle.get("ttft_p50"), 3), shown(middle.get("itl_max"), 3),
            )  # fmt: skip
    return out


def write(result: Result, out: Path) -> None:
    """Of the result's name: ``.json``, ``.md`` and two images."""
    from .plots import plot_pauses, plot_speed

    def plain(value: object) -> object:
        if is_dataclass(value) and not isinstance(value, type):
            return asdict(value)
        return str(value)

    text = json.dumps(as_json(result), default=plain, indent=1)
    name = result.name
    (out / f"{name}.json").write_text(text.replace("NaN", "null") + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text(markdown(result), encoding="utf-8")
    plot_speed(result.found, out / f"{name}-speed.png")
    plot_pauses(result.found, out / f"{name}-pauses.png")
