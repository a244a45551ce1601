"""``forge keys``: of a running server, or of a store without one."""

import json
from typing import Any, Protocol
from urllib.parse import quote

from gateway.cli import console
from gateway.cli.admin.options import NUMBERS
from gateway.cli.admin.tables import NUMBER, show
from gateway.cli.chat.client import Client
from gateway.cli.chat.target_server import USUAL, secret
from gateway.cli.console import Exit
from gateway.config.config import ConfigError

RIGHTS = (*NUMBERS, "max_priority", "weight", "cache_group", "models", "capture", "admin")
REMOVABLE = (*NUMBERS, "max_priority", "cache_group", "models", "capture")
"""Rights that can be taken away, by the word "none"."""


class Keys(Protocol):
    """A place where keys are."""

    def all(self) -> list[dict[str, Any]]:
        """Return all keys, as GET /keys tells them."""
        ...

    def add(self, name: str, rights: dict[str, Any], close: bool, adopt: bool) -> str:
        """Add a key, and return its secret."""
        ...

    def limit(self, name: str, rights: dict[str, Any]) -> None: ...
    def rotate(self, name: str) -> str: ...
    def revoke(self, name: str, now: bool) -> int:
        """End a key, and return how many of its requests ended."""
        ...


class ServersKeys:
    """Keys of a server that runs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def all(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._client.call("GET", "/keys")["data"]
        return found

    def add(self, name: str, rights: dict[str, Any], close: bool, adopt: bool) -> str:
        said = {"close": close, "adopt": adopt}
        asked = {"name": name, **rights, **{each: True for each in said if said[each]}}
        return str(self._client.call("POST", "/keys", body=asked)["key"])

    def limit(self, name: str, rights: dict[str, Any]) -> None:
        self._client.call("PATCH", _path(name), body=rights)

    def rotate(self, name: str) -> str:
        return str(self._client.call("POST", f"{_path(name)}/rotate")["key"])

    def revoke(self, name: str, now: bool) -> int:
        query = {"now": "true"} if now else None
        return int(self._client.call("DELETE", _path(name), query)["ended"])


def run(given: dict[str, Any]) -> Exit:
    """Do what is asked. Raises ConfigError or RequestFailed."""
    action, name = given["action"], given["name"]
    rights = {each: given[each] for each in RIGHTS if given[each] is not None}
    _check(action, name, rights, given)
    if given["data_dir"] is not None or given["database"] is not None:
        if given["url"] is not None:
            raise ConfigError("--url: not together with --data-dir or --database")
        from gateway.cli.admin.offline import StoresKeys  # late: it brings SQLAlchemy

        _do(action, name, _rights(rights), given, StoresKeys(given["data_dir"], given["database"]))
        return Exit.OK
    with Client(given["url"] or USUAL, secret(given["api_key"])) as client:
        _do(action, name, _rights(rights), given, ServersKeys(client))
    return Exit.OK


def _check(action: str, name: str | None, rights: dict[str, Any], given: dict[str, Any]) -> None:
    if action == "list":
        if name is not None:
            raise ConfigError("list shows all keys; it takes no NAME")
    elif name is None:
        raise ConfigError(f"which key? forge keys {action} NAME")
    if rights and action not in ("add", "limit"):
        flag = "--" + next(iter(rights)).replace("_", "-")
        raise ConfigError(f"{flag}: rights are for add and limit")
    if action == "limit" and not rights:
        raise ConfigError("limit: which right? such as --tokens-per-day 1000000")
    for option, only in (("close", "add"), ("adopt", "add"), ("now", "revoke")):
        if given[option] and action != only:
            raise ConfigError(f"--{option}: for {only} alone")


def _rights(given: dict[str, Any]) -> dict[str, Any]:
    """Return rights as the API takes them."""
    found = dict[str, Any]()
    for name, value in given.items():
        found[name] = None if value == "none" and name in REMOVABLE else value
    if isinstance(found.get("models"), str):
        found["models"] = [each.strip() for each in found["models"].split(",")]
    return found


def _do(action: str, name: str, rights: dict[str, Any], given: dict[str, Any], keys: Keys) -> None:
    match action:
        case "list":
            _list(keys.all(), given["json"])
        case "add":
            _tell(name, keys.add(name, rights, given["close"], given["adopt"]), given["json"])
        case "rotate":
            _tell(name, keys.rotate(name), given["json"])
        case "limit":
            keys.limit(name, rights)
            console.say("keys", f"{name}: changed")
        case "revoke":
            ended = keys.revoke(name, given["now"])
            console.say("keys", f"{name}: revoked" + (f", {ended} requests ended" * given["now"]))


def _tell(name: str, secret: str, as_json: bool) -> None:
    """Print a secret: alone on stdout, for scripts."""
    print(json.dumps({"name": name, "key": secret}) if as_json else secret)
    console.say("keys", f"{name}: this is its secret; it is not shown again")


def _list(keys: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(keys, indent=1))
        return
    headings = {"Key": "", "From": "", "Today": NUMBER, "This month": NUMBER, "Rights": ""}
    show(headings, [_row(each) for each in keys])


def _row(key: dict[str, Any]) -> list[str]:
    source = key["source"] if key["active"] else f"{key['source']}, replaced"
    day = _of(key.get("used_today"), key["tokens_per_day"])
    month = _of(key.get("used_this_month"), key["tokens_per_month"])
    rights = ["admin"] if key["admin"] else []
    for name in (
        "requests_per_minute",
        "tokens_per_minute",
        "max_priority",
        "cache_group",
        "capture",
    ):
        if key[name] is not None:
            rights.append(f"{name.replace('_', '-')} {key[name]}")
    if key["weight"] != 1:
        rights.append(f"weight {key['weight']:g}")
    if key["max_stored_bytes"] is not None:
        rights.append(f"max-stored-bytes {key['max_stored_bytes']}")
    if key["models"] is not None:
        rights.append(f"models {','.join(key['models'])}")
    return [key["name"], source, day, month, ", ".join(rights)]


def _of(used: int | None, budget: int | None) -> str:
    if budget is None:
        return "" if used is None else f"{used:,}"
    return f"{budget:,}" if used is None else f"{used:,} of {budget:,}"


def _path(name: str) -> str:
    return f"/keys/{quote(name, safe='')}"
