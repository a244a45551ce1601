"""The names of a model's files, where llama.cpp has split it. Pure."""

import re
from pathlib import Path

PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
"""The name of one file of a model that was split."""


def parts(path: Path) -> list[Path]:
    """Return all files of the model that ``path`` is the first of, or ``path`` alone."""
    match = PART.fullmatch(path.name)
    if match is None:
        return [path]
    count = int(match["count"])
    return [path.with_name(part_name(match["stem"], at, count)) for at in range(1, count + 1)]


def part_name(stem: str, number: int, count: int) -> str:
    """Return the name that llama.cpp gives a part; the first has number 1."""
    return f"{stem}-{number:05}-of-{count:05}.gguf"
