"""The options of ``forge chat`` and ``forge run``. Light: every command reads it."""

import argparse
from pathlib import Path
from typing import Any

NAMES = ("chat", "run")
WHERE = (
    "Uses the server at --url, or the one at port 8080 of this machine if it answers; otherwise "
    "starts its own server, which ends with the command and takes its options from the "
    "environment (FORGE_CTX, FORGE_THREADS ...)."
)


def add_to(commands: Any) -> None:
    """The commands of this package."""
    chat = commands.add_parser(
        "chat",
        help="chat with a model in the terminal",
        description="Chat with a model in the terminal. /help lists the commands.",
        epilog=WHERE,
    )
    chat.add_argument("model", nargs="?", metavar="MODEL", help=_MODEL)
    _add_shared(chat)
    run = commands.add_parser(
        "run",
        help="ask a model once and print its answer",
        description="Ask a model once and print its answer, and nothing else, on stdout. Text on "
        "stdin is appended to the prompt.",
        epilog=WHERE,
    )
    run.add_argument(
        "prompt", nargs="?", metavar="PROMPT", help="the prompt; none, or -: read it from stdin"
    )
    run.add_argument("--model", "-m", metavar="MODEL", help=_MODEL)
    _add_shared(run)
    run.add_argument("--json", action="store_true", help="print the answer and its figures as JSON")
    run.add_argument("--verbose", "-v", action="store_true", help="print figures on stderr")
    run.add_argument(
        "--schema", type=Path, metavar="FILE", help="JSON schema that the answer must follow"
    )


_MODEL = (
    "a model of the server; or, for its own server, a GGUF file, hf:ORG/REPO[:QUANT], an https "
    "address or a name from forge list"
)


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", metavar="URL", help="a running server, Forge or any with OpenAI's API"
    )
    parser.add_argument(
        "--api-key", metavar="KEY", help="its key (better: FORGE_API_KEY in the environment)"
    )
    parser.add_argument("--system", metavar="TEXT", help="the system message")
    parser.add_argument(
        "--priority", metavar="NAME", help="batch, normal, urgent or a number (default: normal)"
    )
    parser.add_argument("--max-tokens", type=_count, metavar="N", help="most tokens of an answer")
    parser.add_argument("--temperature", type=float, metavar="T", help="0: always the likeliest")
    parser.add_argument("--seed", type=int, metavar="N", help="the same answer for the same seed")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value
