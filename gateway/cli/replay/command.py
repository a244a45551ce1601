"""``forge replay``."""

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.capture.comparing import AnswerComparison, ComparedAnswer, compared, seeded
from gateway.cli import console
from gateway.cli.chat.client import Client, RequestFailed
from gateway.cli.console import Exit
from gateway.cli.replay.options import NAME
from gateway.cli.replay.shown import show
from gateway.config.config import ConfigError

SENT = ("anthropic-beta", "anthropic-version", "openai-beta", "x-priority", "x-session-id")
"""Headers of a captured request that are sent again: those that say how it is meant."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A capture, as far as it is replayed."""

    path: str
    request: bytes
    headers: Mapping[str, str]
    answer: ComparedAnswer
    notes: tuple[str, ...]

    @classmethod
    def read(cls, raw: Any) -> "Captured":
        """Read a server's answer. Raises :class:`RequestFailed` if it can't be replayed."""
        try:
            if not raw["replayable"]:
                raise RequestFailed(f"it can't be replayed: {'; '.join(raw['notes'])}")
            answer = ComparedAnswer(
                raw["status"],
                raw["content_type"],
                raw["answer"].encode(),
                raw["seed"],
                raw["model"],
            )
            path, body = raw["path"], raw["request"]
            headers, notes = raw["headers"], [each for each in raw["notes"] if "answer" in each]
            return cls(path, body.encode(), headers, answer, tuple(notes))
        except (LookupError, TypeError, AttributeError):
            raise RequestFailed("the server's answer is no capture") from None


def run(given: dict[str, Any]) -> int:
    """The exit code of the command."""
    with console.interrupted_by(signal.SIGTERM):
        return console.run(NAME, lambda: _run(given), refused=(ConfigError, RequestFailed))


def _run(given: dict[str, Any]) -> Exit:
    with Client(given["url"], _key(given["api_key"], "FORGE_API_KEY")) as source:
        captured = Captured.read(source.get(f"/captures/{_id(given['id'])}"))
        request = captured.request
        if given["seed"]:
            if captured.answer.seed is None:
                raise RequestFailed("--seed: the captured answer was not drawn with one")
            request = seeded(captured.path, request, captured.answer.seed)
        if given["model"] is not None:
            request = json.dumps({**json.loads(request), "model": given["model"]}).encode()
        if given["to"] is None:
            now = _asked(source, captured, request)
        else:
            with Client(given["to"], _key(given["to_api_key"], "FORGE_TO_API_KEY")) as target:
                now = _asked(target, captured, request)
    found = compared(captured.path, request, captured.answer, now, captured.notes)
    if given["json"]:
        print(json.dumps(_told(captured.answer, now, found)))
    else:
        show(captured.answer, now, found)
    return Exit.OK if found.equal else Exit.FAILED


def _asked(client: Client, captured: Captured, request: bytes) -> ComparedAnswer:
    """Send the request, and return the answer."""
    headers = {name: value for name, value in captured.headers.items() if name in SENT}
    response = client.post(captured.path, request, headers)
    seed = response.headers.get("x-seed", "")
    kind = response.headers.get("content-type", "")
    number = int(seed) if seed.removeprefix("-").isdecimal() else None
    return ComparedAnswer(response.status_code, kind, response.content, number)


def _told(before: ComparedAnswer, now: ComparedAnswer, found: AnswerComparison) -> dict[str, Any]:
    sides = {
        name: {
            "status": each.status,
            "seed": each.seed,
            "texts": [{"name": text.name, "text": text.text} for text in each.texts],
        }
        for name, each in (("captured", before), ("now", now))
    }
    return {"equal": found.equal, "reasons": list(found.reasons), **sides}


def _id(text: str) -> str:
    """Return an id that is harmless in a path. Raises :class:`ConfigError`."""
    if not text or not all(each.isascii() and (each.isalnum() or each in "_-") for each in text):
        raise ConfigError("ID: expected a capture's id, such as cap_0123456789abcdef")
    return text


def _key(given: str | None, variable: str) -> str | None:
    key = given or os.environ.get(variable)
    if key is not None and not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{variable}, or its option: only visible ASCII characters can be sent")
    return key
