"""The tables and plots of a run."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from rich.table import Table

from .load import CLASSES, Outcome
from .measure import Summary, lead, percentile, steady, summarise

COLOURS = {"urgent": "#c0392b", "normal": "#2471a3", "batch": "#7f8c8d"}
WINDOW_S = 1.0


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of a run. ``queue`` is how many requests might wait."""

    capacity: float
    overload: float
    queue: int
    warm_s: float
    """Arrivals before this moment of a run are left out: the queue was filling."""
    orders: dict[str, list[Outcome]]
    backlog: list[Outcome]
    lead_s: float
    """d/r of the second run."""

    def summaries(self) -> dict[str, dict[str, Summary]]:
        """Per order and class, of the steady part."""
        return {o: summarise(steady(found, self.warm_s)) for o, found in self.orders.items()}

    def ratio(self, class_: str) -> float:
        """p99 of the time to the first token: Forge's over FIFO's."""
        found = self.summaries()
        return found["Forge"][class_].ttft_p99 / found["FIFO"][class_].ttft_p99

    def settled_lead(self) -> float:
        """The median lead in the second half of the second run."""
        points = lead(self.backlog, WINDOW_S)
        return percentile([value for _, value in points[len(points) // 2 :]], 0.5)


def _shown(value: float, digits: str = ".3f", unit: str = "") -> str:
    """Nothing where none was served."""
    return "" if math.isnan(value) else f"{value:{digits}}{unit}"


def table(result: Result) -> Table:
    """The ratios for a terminal."""
    shown = Table("class", "order", "arrived", "served", "refused", "lost", "p50 s", "p99 s")
    for class_ in CLASSES:
        for order, found in result.summaries().items():
            s = found[class_]
            shown.add_row(
                class_, order, str(s.arrived), str(s.served), str(sum(s.refused.values())),
                str(s.lost), _shown(s.ttft_p50), _shown(s.ttft_p99),
            )  # fmt: skip
    return shown


def markdown(result: Result) -> str:
    """The report."""
    lines = [
        "# The order under overload", "",
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()} on {platform.system()} "
        f"{platform.machine()}, one worker, 8 slots, 1 thread, forge-tiny; arrivals at "
        f"{result.overload:g} times the capacity of {result.capacity:.1f} requests/s; the queue is "
        f"bounded at {result.queue} requests. Time to the first text as the client sees it, in "
        "seconds; the same arrivals in both orders, in turns on one server.", "",
        "| class | order | arrived | served | refused at once or displaced | lost | TTFT p50 | "
        "TTFT p99 | p99 beside FIFO |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for class_ in CLASSES:
        for order, found in result.summaries().items():
            s = found[class_]
            ratio = _shown(result.ratio(class_), ".2f", "x") if order == "Forge" else ""
            lines.append(
                f"| {class_} | {order} | {s.arrived} | {s.served} | {sum(s.refused.values())} "
                f"| {s.lost} | {_shown(s.ttft_p50)} | {_shown(s.ttft_p99)} | {ratio} |"
            )
    lines += [
        "", "![waits](overload-waits.png)", "",
        f"With a backlog longer than d/r = {result.lead_s:g} s, preemption off, urgent jobs began "
        f"**{result.settled_lead():.2f} s** sooner after their arrival than normal ones (median "
        "over the second half of the run).", "", "![lead](overload-lead.png)", "",
    ]  # fmt: skip
    return "\n".join(lines)


def write(result: Result, out: Path) -> None:
    """overload.md and its two images."""
    (out / "overload.md").write_text(markdown(result), encoding="utf-8")
    _plot_waits(result, out / "overload-waits.png")
    _plot_lead(result, out / "overload-lead.png")


def _plot_waits(result: Result, image: Path) -> None:
    figure, sides = plt.subplots(1, 2, figsize=(10, 4), dpi=110, sharey=True)
    for axes, (order, outcomes) in zip(sides, result.orders.items(), strict=True):
        for class_ in reversed(CLASSES):
            served = [o for o in outcomes if o.class_ == class_ and o.ttft_s is not None]
            axes.plot(
                [o.arrived_s for o in served], [o.ttft_s for o in served],
                ".", markersize=3, color=COLOURS[class_], label=class_,
            )  # fmt: skip
        axes.set(title=order, xlabel="arrival, seconds into the run")
        axes.grid(alpha=0.3)
    sides[0].set(ylabel="time to the first token, seconds")
    sides[0].legend(loc="lower right", markerscale=3)
    figure.tight_layout()
    figure.savefig(image)
    plt.close(figure)


def _plot_lead(result: Result, image: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.6), dpi=110)
    points = lead(result.backlog, WINDOW_S)
    axes.plot(*zip(*points, strict=True), ".-", color=COLOURS["urgent"], label="measured")
    axes.axhline(result.lead_s, color="black", linestyle="--", linewidth=1, label="d / r")
    axes.set(
        xlabel="seconds into the run", ylabel="lead of urgent over normal, seconds", ylim=(0, None)
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(image)
    plt.close(figure)
