"""The options of ``forge tune``. Light, for the command line reads it every time."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from gateway.config.tuning_profile import CACHE, SHAPE

SHARED = ("model", *SHAPE, "batch", *CACHE, "n_gpu_layers")
"""Options of ``forge serve`` that matter here. What is given is kept, the rest is searched."""


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """The options that only ``forge tune`` has."""

    seconds: float
    allow_kv_quant: bool
    plot: Path | None
    json: Path | None


def add_to(parser: argparse.ArgumentParser) -> None:
    """The options of :class:`TuneOptions`."""
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=120.0,
        help="approximate seconds of measuring; large models take longer (default: 120)",
    )
    parser.add_argument(
        "--allow-kv-quant",
        action="store_true",
        help="choose a KV cache of less than 16 bits where that is faster, though it may change "
        "answers (default: only measure it)",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the results (PNG, SVG ...)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"expected 1 to 86400, not {text!r}")
    return seconds
