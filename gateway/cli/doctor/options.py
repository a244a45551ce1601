"""The options of ``forge doctor``. Light: every command reads it."""

import argparse

from gateway.cli.models.options import SHAPE

NAME = "doctor"
SHARED = ("model", "host", "port", "max_connections", "n_gpu_layers", *SHAPE)
"""Options of ``forge serve`` on which the findings depend."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """The options that ``forge serve`` does not have."""
    parser.add_argument("--json", action="store_true", help="print JSON")
