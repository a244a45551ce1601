"""The plots of a run."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from .experiment import Found
from .measure import medians

COLOURS = plt.get_cmap("tab10").colors


def _colours(found: Found) -> dict[str, tuple[float, float, float]]:
    """One for each system, the same in both plots."""
    names = dict.fromkeys(name for systems in found.values() for name in systems)
    return {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(names)}


def plot_speed(found: Found, image: Path) -> None:
    """Tokens per second, by workload and system."""
    _bars(found, "tokens_per_s", "output tokens per second", image, log=False)


def plot_pauses(found: Found, image: Path) -> None:
    """The longest pause that any stream had."""
    _bars(found, "itl_max", "worst gap in a stream, seconds", image, log=True)


def _bars(found: Found, figure: str, label: str, image: Path, *, log: bool) -> None:
    drawn, axes = plt.subplots(figsize=(10, 4.5), dpi=110)
    colours, full = _colours(found), {w: s for w, s in found.items() if s}
    width = 0.8 / max(1, len(colours))
    for number, (name, colour) in enumerate(colours.items()):
        places, heights = [], []
        for at, systems in enumerate(full.values()):
            value = medians(systems[name]).get(figure) if name in systems else None
            if value is not None:
                places.append(at + (number + 0.5) * width - 0.4)
                heights.append(value)
        if places:
            axes.bar(places, heights, width, color=colour, label=name)
    axes.set_xticks(range(len(full)), [name.replace(": ", ":\n") for name in full], fontsize=7)
    axes.set(ylabel=label, **({"yscale": "log"} if log else {}))
    axes.grid(alpha=0.3, axis="y")
    axes.legend(fontsize=7)
    drawn.tight_layout()
    drawn.savefig(image)
    plt.close(drawn)
