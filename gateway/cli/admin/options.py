"""The options of ``forge keys`` and ``forge usage``. Light: every command reads it."""

import argparse
from pathlib import Path
from typing import Any

NAMES = ("keys", "usage")
ACTIONS = ("list", "add", "limit", "rotate", "revoke")
NUMBERS = {
    "requests_per_minute": "requests that it may make in a minute",
    "tokens_per_minute": "tokens of prompts and answers in a minute",
    "tokens_per_day": "its budget of a day in UTC: tokens of prompts and answers",
    "tokens_per_month": "its budget of a calendar month in UTC",
    "max_stored_bytes": "bytes of files that it may keep",
}
WHERE = (
    "Asks the server at --url, or the one at port 8080 of this machine, with the key of an admin. "
)
OFFLINE = (
    "With --data-dir or --database the store itself is changed: for the first key, and while no "
    "server runs."
)


def add_to(commands: Any) -> None:
    """The commands of this package."""
    keys: argparse.ArgumentParser = commands.add_parser(
        "keys",
        help="list, add, limit, rotate or revoke API keys while the server runs",
        description="List, add, limit, rotate or revoke the API keys of a server's store. A new "
        "key's secret is printed once, and stored as a hash alone. Keys of --api-key and "
        "--api-key-file are listed, and changed only there.",
        epilog=WHERE + OFFLINE,
    )
    keys.add_argument("action", nargs="?", choices=ACTIONS, default="list", help="default: list")
    keys.add_argument("name", nargs="?", metavar="NAME", help="the key's name")
    _add_server(keys)
    keys.add_argument("--data-dir", type=Path, metavar="FOLDER", help="a folder that no server has")
    keys.add_argument("--database", metavar="URL", help="a database: postgresql://...")
    keys.add_argument("--json", action="store_true", help="print JSON")
    rights = keys.add_argument_group("rights, of add and limit ('none' takes a limit away)")
    for name, text in NUMBERS.items():
        rights.add_argument(_flag(name), type=_number, metavar="N", help=text)
    rights.add_argument("--max-priority", metavar="NAME", help="batch, normal, urgent or a number")
    rights.add_argument("--weight", type=float, metavar="N", help="its share among keys")
    rights.add_argument("--cache-group", metavar="NAME", help="keys of one share what is computed")
    rights.add_argument(
        "--models", metavar="NAMES", help="the only models that it may use, separated by commas"
    )
    rights.add_argument("--capture", metavar="MODE", help="off, header or always: see --capture")
    rights.add_argument(
        "--admin",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="it manages models and keys, and sees all usage",
    )
    keys.add_argument(
        "--close", action="store_true", help="add: a server that is open needs a key from now on"
    )
    keys.add_argument(
        "--adopt",
        action="store_true",
        help="add: what a revoked key of this name has left becomes the new one's",
    )
    keys.add_argument(
        "--now", action="store_true", help="revoke: end its requests that run on this server, too"
    )
    usage: argparse.ArgumentParser = commands.add_parser(
        "usage",
        help="show what each key has used of each model",
        description="Show requests and tokens of each key and model, by hour or day in UTC.",
        epilog=WHERE,
    )
    usage.add_argument("--by", choices=("hour", "day"), default="day", help="steps (default: day)")
    usage.add_argument(
        "--since",
        metavar="TIME",
        help="begin: 2026-11-30, 2026-11-30T08:00, 12h or 7d (default: 24h of hours, 30d of days)",
    )
    usage.add_argument("--until", metavar="TIME", help="end, not included (default: now)")
    usage.add_argument("--key", metavar="NAME", help="of this key alone, by its name")
    usage.add_argument("--model", "-m", metavar="MODEL", help="of this model alone")
    usage.add_argument("--json", action="store_true", help="print JSON")
    _add_server(usage)


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", metavar="URL", help="a running server")
    parser.add_argument(
        "--api-key", metavar="KEY", help="an admin's (better: FORGE_API_KEY in the environment)"
    )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _number(text: str) -> int | str:
    return text if text == "none" else int(text)
