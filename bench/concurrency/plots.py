"""One picture with a panel for each experiment."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bench.overload.load import CLASSES

from .compute import Compute
from .connections import SERVERS, Connections
from .order import Order
from .report import Results
from .sites import Sites

COLOURS = {
    "sequential": "#7f8c8d", "threads": "#c0392b", "asyncio": "#2471a3", "starlette": "#17a589",
    "pool": "#c0392b", "Forge": "#2471a3",
}  # fmt: skip


def draw(results: Results, image: Path) -> None:
    """Write the picture."""
    rows = 1 if results.sites is None else 2
    figure, panels = plt.subplots(rows, 2, figsize=(11, 3.75 * rows), dpi=110, squeeze=False)
    if results.sites is not None:
        _sites(panels[0][0], results.sites)
    if results.connections is not None:
        _connections(panels[0][1], results.connections)
    _compute(panels[-1][0], results.compute)
    _order(panels[-1][1], results.order)
    for panel in panels.flat:
        panel.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(image)
    plt.close(figure)


def _sites(axes: Axes, found: Sites) -> None:
    names = [way.way for way in found.ways]
    axes.barh(names[::-1], [way.seconds for way in found.ways][::-1], color=COLOURS["asyncio"])
    for value, name in ((sum(found.delays), "sum"), (max(found.delays), "longest")):
        axes.axvline(value, color="black", linestyle="--", linewidth=1)
        axes.annotate(f" {name} of the delays", (value, 2.48), fontsize=7, va="center",
                      ha="left" if name == "longest" else "right")  # fmt: skip
    axes.set_ylim(-0.5, 2.6)
    axes.set(title="Ten sites: waiting together", xlabel="seconds")


def _connections(axes: Axes, found: Connections) -> None:
    for wait_s, style in zip(sorted({r.wait_s for r in found.rates}), ("-", ":"), strict=False):
        for server in SERVERS:
            mine = [r for r in found.rates if (r.server, r.wait_s) == (server, wait_s)]
            axes.plot(
                [r.connections for r in mine], [max(1.0, r.requests_s) for r in mine],
                style, marker=".", color=COLOURS[server],
                label=server if style == "-" else f"{server}, {1000 * wait_s:.0f} ms of I/O",
            )  # fmt: skip
    axes.set(title="Connections", xlabel="connections", ylabel="requests/s", xscale="log",
             yscale="log", ylim=(1, None))  # fmt: skip
    axes.legend(fontsize=6, ncols=2, loc="lower right")


def _compute(axes: Axes, found: Compute) -> None:
    ways = [computed.way.replace(", ", ",\n") for computed in found.computed]
    names = [
        f"{way}\n{computed.requests_s:,.3g}/s"
        for way, computed in zip(ways, found.computed, strict=True)
    ]
    places = range(len(names))
    axes.bar([p - 0.2 for p in places], [c.alone.p99 for c in found.computed], 0.4,
             color=COLOURS["sequential"], label="without load")  # fmt: skip
    axes.bar([p + 0.2 for p in places], [c.health.p99 for c in found.computed], 0.4,
             color=COLOURS["threads"], label="while it computes")  # fmt: skip
    axes.set_xticks(places, names, fontsize=7)
    axes.set(title="Compute: is the event loop still there?", yscale="log",
             ylabel="GET /health, p99, ms; below: requests/s")  # fmt: skip
    axes.legend(fontsize=7)


def _order(axes: Axes, order: Order) -> None:
    for server, style in (("pool", "--"), ("Forge", "-")):
        for class_, colour in zip(CLASSES, ("#c0392b", "#2471a3", "#7f8c8d"), strict=True):
            times = sorted(order.times(server, class_))
            part = [(at + 1) / len(times) for at in range(len(times))]
            label = f"{class_}, {server}"
            axes.plot(times, part, style, color=colour, linewidth=1.2, label=label)
    axes.set(title="Overload: which class waits", xlabel="seconds to the answer",
             ylabel="part of the requests")  # fmt: skip
    axes.legend(fontsize=7)
