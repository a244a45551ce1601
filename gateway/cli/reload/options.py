"""The options of ``forge reload``. Light: every command reads it."""

import argparse
from typing import Any

from gateway.config.config import Config

NAME = "reload"
USUAL = f"http://127.0.0.1:{Config.model_fields['port'].default}"


def add_to(commands: Any) -> None:
    """The command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        NAME,
        help="let a running server read its options, models and keys again",
        description="Let a running server read its options, models and keys again, wait until its "
        "requests go to what is new, and print what has changed. No request fails meanwhile.",
        epilog="Exit code 1: a model's new workers could not start, and its old ones go on; 2: "
        "the options have an error, and nothing has changed.",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="reload this one alone")
    parser.add_argument("--url", metavar="URL", help=f"the server (default: {USUAL})")
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help="an admin's key (better: FORGE_API_KEY in the environment); without keys the server "
        "takes it from its own machine alone",
    )
