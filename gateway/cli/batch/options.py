"""The options of ``forge batch``. Light: every command reads it."""

import argparse
from pathlib import Path
from typing import Any

from gateway.cli.chat.options import WHERE

NAME = "batch"


def add_to(commands: Any) -> None:
    """The command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        NAME,
        help="run the requests of a file, and write their results to another",
        description="Run the requests of a file in the format of OpenAI's batches, and write their "
        "results to another. Run again, it goes on: lines whose results are there are left out. "
        "Failures are written to OUT's name with .errors.jsonl at its end.",
        epilog=WHERE,
    )
    parser.add_argument(
        "input", type=Path, metavar="IN", help="a request in each line, with its custom_id"
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="the results, one in each line")
    parser.add_argument(
        "--url", metavar="URL", help="a running server, Forge or any with OpenAI's API"
    )
    parser.add_argument(
        "--api-key", metavar="KEY", help="its key (better: FORGE_API_KEY in the environment)"
    )
    parser.add_argument(
        "--model",
        "-m",
        metavar="MODEL",
        help="ask this one, whatever model the lines name: a model of the server; or, for its own "
        "server, a GGUF file, hf:ORG/REPO[:QUANT], an https address or a name from forge list",
    )
    parser.add_argument(
        "--priority", metavar="NAME", help="batch, normal, urgent or a number (default: batch)"
    )
    parser.add_argument(
        "--concurrency",
        type=_count,
        metavar="N",
        help="requests at once (default: twice the server's slots)",
    )


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 10_000:
        raise argparse.ArgumentTypeError("must be 1 to 10000")
    return value
