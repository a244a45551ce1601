"""The model that the servers compute with, and how much is asked of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Subject:
    """A token of one model takes a hundred times as long as one of another."""

    name: str
    file: Path | None
    """None: the one that is built in."""
    tokens: int
    """Of an answer, where it is counted what can be done."""
    order_tokens: int
    """Of an answer, where more is asked than can be done."""
    calibrate: int
    """Requests from which a server's capacity is known."""

    @property
    def options(self) -> tuple[str, ...]:
        """Return those by which `forge serve` and the servers beside it take the model."""
        return () if self.file is None else ("--model", str(self.file))


EMBEDDED = Subject("the embedded model", None, 32, 128, 64)


def large(name: str, file: Path) -> Subject:
    """Return a model that computes for a second what the embedded one does at once."""
    return Subject(name, file, 32, 32, 16)


def body(tokens: int, priority: str | None = None) -> bytes:
    """Return a request for so many tokens; naive servers look at query and max_tokens alone."""
    asked = {
        "query": "Once upon a time there was a server that waited for its clients, and",
        "raw": True, "max_tokens": tokens, "ignore_eos": True, "cache_prompt": False,
    }  # fmt: skip
    return json.dumps(asked if priority is None else {**asked, "priority": priority}).encode()
