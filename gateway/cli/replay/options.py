"""The options of ``forge replay``. Light: every command reads it."""

import argparse
from typing import Any

NAME = "replay"


def add_to(commands: Any) -> None:
    """The command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        NAME,
        help="send a captured request again, and compare the answers",
        description="Send a captured request again, and show the new answer beside the old one. "
        "Exit code 0: they say the same; 1: they differ, and why is told; 2: there is no answer to "
        "compare.",
        epilog="GET /captures lists captures; docs/guides/captures.md tells how there come to be "
        "some.",
    )
    parser.add_argument("id", metavar="ID", help="a capture's id, such as cap_0123456789abcdef")
    parser.add_argument(
        "--url", metavar="URL", required=True, help="the server that has the capture"
    )
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help="its key, which must be an admin's (better: FORGE_API_KEY in the environment)",
    )
    parser.add_argument(
        "--to", metavar="URL", help="another server that gets the request (default: the same one)"
    )
    parser.add_argument(
        "--to-api-key",
        metavar="KEY",
        help="the other server's key (better: FORGE_TO_API_KEY in the environment)",
    )
    parser.add_argument(
        "--model", "-m", metavar="MODEL", help="ask this model, whatever the request names"
    )
    parser.add_argument(
        "--seed",
        action="store_true",
        help="draw with the seed that the captured answer was drawn with",
    )
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
