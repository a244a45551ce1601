"""Options about LoRA adapters: a name and a file each, or a file and a scale. Pure."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gateway.config.numbers import number

NAME = re.compile(r"[^\x00-\x1f\x7f=,]{1,256}")
MOST = 64
"""Adapters of one model."""
MOST_SCALE = 1e4


class NamedAdapter(NamedTuple):
    """An adapter that clients ask for by its name."""

    name: str
    file: Path


class ScaledAdapter(NamedTuple):
    """An adapter that is applied to every request that does not say another scale."""

    file: Path
    scale: float


def named(value: Any) -> tuple[NamedAdapter, ...]:
    """Return adapters of a table, or of a text NAME=FILE,NAME=FILE. Raises ValueError."""
    if isinstance(value, tuple) and all(isinstance(each, NamedAdapter) for each in value):
        return value
    if isinstance(value, Mapping):
        items = list(value.items())
    else:
        items = [item.partition("=")[::2] for item in _items(value, "NAME=FILE")]
    found = [_named(name, file) for name, file in items]
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"expected each name once, not {name} twice")
    if len(found) > MOST:
        raise ValueError(f"expected at most {MOST} adapters")
    return tuple(found)


def _named(name: Any, file: Any) -> NamedAdapter:
    if not isinstance(file, str) or not file or "\0" in file or not NAME.fullmatch(str(name)):
        raise ValueError("expected NAME=FILE, such as legal=legal.gguf")
    return NamedAdapter(str(name), Path(file))


def applied(value: Any) -> tuple[ScaledAdapter, ...]:
    """Return llama-server's FILE,FILE, each with the scale 1. Raises ValueError."""
    if isinstance(value, tuple) and all(isinstance(each, ScaledAdapter) for each in value):
        return value
    return tuple(ScaledAdapter(_file(item), 1.0) for item in _items(value, "FILE"))


def scaled(value: Any) -> tuple[ScaledAdapter, ...]:
    """Return llama-server's FILE:SCALE,FILE:SCALE. Raises ValueError."""
    if isinstance(value, tuple) and all(isinstance(each, ScaledAdapter) for each in value):
        return value
    found = list[ScaledAdapter]()
    for item in _items(value, "FILE:SCALE"):
        file, _, scale = item.rpartition(":")
        at = number(scale, "expected FILE:SCALE, such as legal.gguf:0.5")
        if not -MOST_SCALE <= at <= MOST_SCALE:
            raise ValueError(f"expected a scale between -{MOST_SCALE:g} and {MOST_SCALE:g}")
        found.append(ScaledAdapter(_file(file), at))
    return tuple(found)


def _file(item: str) -> Path:
    if not item or "\0" in item:
        raise ValueError("expected the name of a file")
    return Path(item)


def _items(value: Any, form: str) -> list[str]:
    """Return the parts of a text with commas, which quotes may enclose, or of a list of parts."""
    if value == "":
        return []
    lines = [value] if isinstance(value, str) else value
    if not isinstance(lines, Sequence) or not all(isinstance(line, str) for line in lines):
        raise ValueError(f"expected {form}")
    if not isinstance(value, str):
        return list(lines)
    try:
        return next(csv.reader([value]))
    except (csv.Error, StopIteration) as error:
        raise ValueError(f"expected one line of {form}") from error
