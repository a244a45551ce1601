"""The commands about models: ``forge pull``."""

import argparse
import signal
import sys
from collections.abc import Callable
from typing import Any

from gateway import logs
from gateway.config import ConfigError
from gateway.models.obtain import obtain

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 2, 130
NAMES = ("pull",)
KEPT = "interrupted; what came is kept, and the next time it goes on from there"


def add_to(commands: Any) -> None:
    """The commands of this module."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "pull",
        help="get a model, for forge serve to find it here",
        description="Get a model and print where its file is. An interrupted one goes on where "
        "it was, and a file is in its place only when it is whole.",
        epilog="HF_TOKEN opens what is gated or private, HF_ENDPOINT names another hub, and "
        "HF_HUB_CACHE another cache; it is shared with all that use huggingface_hub.",
    )
    parser.add_argument(
        "source",
        metavar="MODEL",
        help="hf:ORG/REPO (Q4_K_M, or the nearest quantisation there is), hf:ORG/REPO:QUANT, "
        "hf:ORG/REPO:FILE, or an https address",
    )


def run(command: str, given: dict[str, Any]) -> int:
    """The exit code of ``forge command``."""
    commands: dict[str, Callable[[dict[str, Any]], None]] = {"pull": pull}
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        commands[command](given)
    except ConfigError as error:
        print(f"forge {command}: error: {logs.escaped(str(error))}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print(f"forge {command}: {KEPT}", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    return EXIT_OK


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def pull(given: dict[str, Any]) -> None:
    """``forge pull``."""
    print(obtain(given["source"]))
