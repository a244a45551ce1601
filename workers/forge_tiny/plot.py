"""The loss curve of a run: `python -m workers.forge_tiny.plot training.json loss.png`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt


def plot(log: Path, image: Path) -> None:
    """Draw training.json's loss over steps."""
    run = json.loads(log.read_text(encoding="utf-8"))
    steps, losses = zip(*run["loss"], strict=True)
    figure, axes = plt.subplots(figsize=(7, 4), dpi=100)
    axes.plot(steps, losses, linewidth=1.2)
    axes.set(xlabel="step", ylabel="loss (moving average)", title="forge-tiny", yscale="log")
    axes.grid(alpha=0.3, which="both")
    figure.tight_layout()
    figure.savefig(image)


if __name__ == "__main__":
    plot(Path(sys.argv[1]), Path(sys.argv[2]))
