"""``forge usage``: a table of what each key has used."""

import json
import re
import time
from datetime import UTC, datetime
from typing import Any

from gateway.cli import console
from gateway.cli.admin.tables import NUMBER, show
from gateway.cli.chat.client import Client
from gateway.cli.chat.target_server import USUAL, secret
from gateway.cli.console import Exit
from gateway.config.config import ConfigError
from gateway.core.moments import moment
from gateway.core.periods import DAY_S, HOUR_S

AGO = re.compile(r"(\d{1,6})([hd])")
MOST = 10_000
COUNTS = {
    "requests": "Requests",
    "prompt_tokens": "Prompt",
    "cached_tokens": "Cached",
    "output_tokens": "Output",
}
FORMS = {"hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d"}


def run(given: dict[str, Any]) -> Exit:
    """Show the usage. Raises ConfigError or RequestFailed."""
    query = {"by": given["by"], "limit": str(MOST)}
    for name in ("since", "until"):
        if given[name] is not None:
            query[name] = str(_moment(given[name], name))
    query |= {name: given[name] for name in ("key", "model") if given[name] is not None}
    with Client(given["url"] or USUAL, secret(given["api_key"])) as client:
        found = client.call("GET", "/usage", query)
    if given["json"]:
        print(json.dumps(found, indent=1))
        return Exit.OK
    _show(found)
    return Exit.OK


def _moment(text: str, name: str) -> float:
    ago = AGO.fullmatch(text)
    if ago is not None:
        return max(0.0, time.time() - int(ago[1]) * (HOUR_S if ago[2] == "h" else DAY_S))
    try:
        return moment(text)
    except ValueError as error:
        raise ConfigError(f"--{name}: {error}") from None


def _show(found: dict[str, Any]) -> None:
    rows = list(reversed(found["data"]))
    headings = {found["by"].capitalize(): "", "Key": "", "Model": ""}
    headings |= dict.fromkeys(COUNTS.values(), NUMBER)
    lines = [_line(row, FORMS[found["by"]]) for row in rows]
    sums = [f"{sum(row[name] for row in rows):,}" for name in COUNTS]
    show(headings, [*lines, ["all", "", "", *sums]] if rows else [], total=bool(rows))
    if found["has_more"]:
        console.say("usage", f"only the newest {MOST} rows: --since, --until, --key and --model")
    if not found["stored"]:
        since = datetime.fromtimestamp(found["since"], UTC)
        console.say("usage", f"without --data-dir the server counts in memory, since {since:%F %R}")


def _line(row: dict[str, Any], form: str) -> list[str]:
    at = datetime.fromtimestamp(row["start"], UTC)
    key = "(no key)" if row["key"] is None else row["key"]
    return [f"{at:{form}}", key, row["model"], *(f"{row[name]:,}" for name in COUNTS)]
