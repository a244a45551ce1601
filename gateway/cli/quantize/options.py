"""The options of ``forge quantize``. Light: every command reads it."""

import argparse
from pathlib import Path
from typing import Any

NAME = "quantize"


def add_to(commands: Any) -> None:
    """The command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        NAME,
        help="quantize a model to a smaller file, and measure the loss",
        description="Quantize a model to a smaller file with llama.cpp's quantiser. Print the "
        "error of its weights and, for a text, the perplexity before and after.",
        epilog="The new file takes its name only when it is complete. An unknown TYPE lists the "
        "known ones.",
    )
    parser.add_argument(
        "source", metavar="IN", help="a GGUF file, or a name (or part of one) of forge list"
    )
    parser.add_argument("target", type=Path, metavar="OUT", help="the file to write")
    parser.add_argument("type", metavar="TYPE", help="such as Q4_K_M or Q8_0")
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.add_argument(
        "--allow-requantize",
        action="store_true",
        help="accept weights that are quantised already, which lose more than F16 or F32",
    )
    parser.add_argument(
        "--pure", action="store_true", help="quantize all matrices to TYPE, none to a better one"
    )
    parser.add_argument("--threads", type=_count, metavar="N", help="default: the cores")
    parser.add_argument(
        "--text",
        type=Path,
        metavar="FILE",
        help="measure the perplexity of this text before and after",
    )
    parser.add_argument(
        "--window",
        type=_window,
        default=512,
        metavar="N",
        help="tokens of the text that are computed together (default: 512)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _window(text: str) -> int:
    value = int(text)
    if not 32 <= value <= 1 << 20:
        raise argparse.ArgumentTypeError("must be 32 or more")
    return value
