"""The results as a picture, by matplotlib, which is optional."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from gateway.cli.tune.report import TITLES, short
from gateway.cli.tune.search import Found


def draw(found: Found, image: Path) -> None:
    """The batch-size curves, and the output of every setting. Raises OSError or ValueError."""
    figure, (curves, rates) = plt.subplots(1, 2, figsize=(12, 5), dpi=110)
    for result in found.stages[0].results:
        if result.decode:
            sizes, values = zip(*sorted(result.decode.items()), strict=True)
            curves.plot(sizes, values, marker="o", label=short(result.setting))
    curves.set(xlabel="streams that decode at once", ylabel="tokens a second", ylim=(0, None))
    curves.set_xscale("log", base=2)
    curves.grid(alpha=0.3)
    curves.legend()
    shown = [
        (stage, result)
        for stage in reversed(found.stages)
        for result in reversed(stage.results)
        if result.failure is None
    ]
    names = [f"{TITLES[stage.name].lower()}: {result.setting}" for stage, result in shown]
    colours = ["tab:green" if result is stage.chosen else "tab:blue" for stage, result in shown]
    outputs = [result.output for _, result in shown]
    rates.barh(range(len(shown)), outputs, color=colours)
    rates.set_yticks(range(len(shown)), names, fontsize=6)
    rates.set(xlabel="output under full load, tokens a second")
    rates.grid(alpha=0.3, axis="x")
    figure.tight_layout()
    figure.savefig(image)
    plt.close(figure)
