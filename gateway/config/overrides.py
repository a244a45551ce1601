"""Lists as llama-server writes them: ``--override-kv``, ``--override-tensor`` and
``--tensor-split``. Pure.

The formats are those of llama.cpp's common/arg.cpp and common/common.cpp.
"""

import csv
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from gateway.config.numbers import number, whole
from workers.protocol import Value

LONGEST = 127
"""Bytes that llama.cpp has room for, in a key as in a text."""


class Override(NamedTuple):
    """One value in place of that in the model's file."""

    key: str
    kind: str
    text: str

    @property
    def said(self) -> str:
        """Return the override as it is written."""
        return f"{self.key}={self.kind}:{self.text}"

    def value(self) -> Value:
        """Raises ValueError if the text is none of its kind."""
        return READERS[self.kind](self.text)


def parse(value: Any) -> list[Override]:
    """Return the overrides in a text with commas, or in a list of texts. Raises ValueError."""
    lines = [value] if isinstance(value, str) else value
    if not isinstance(lines, Sequence) or not all(isinstance(line, str) for line in lines):
        raise ValueError("expected KEY=TYPE:VALUE")
    try:
        rows = [next(csv.reader([line or '""'])) for line in lines]
    except csv.Error as error:
        raise ValueError("expected one line of KEY=TYPE:VALUE") from error
    return [_override(item) for row in rows for item in row]


def overridden(said: Sequence[str]) -> dict[str, Value]:
    """The values by their keys; the first counts, as in llama.cpp."""
    found = dict[str, Value]()
    for line in said:
        override = _override(line)
        found.setdefault(override.key, override.value())
    return found


def _override(item: str) -> Override:
    parts = re.fullmatch(r"([^=]+)=([^:]*):(.*)", item, re.DOTALL)
    if parts is None:
        raise ValueError("expected KEY=TYPE:VALUE")
    override = Override(*parts.groups())
    if override.kind not in READERS:
        raise ValueError(f"expected one of the types {', '.join(READERS)}")
    if max(len(override.key.encode()), len(override.text.encode())) > LONGEST:
        raise ValueError(f"expected at most {LONGEST} bytes in a key and in a value")
    if "\0" in item:
        raise ValueError("expected no NUL")
    override.value()
    return override


def _bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("expected true or false after bool:")
    return text == "true"


READERS: dict[str, Callable[[str], Value]] = {
    "int": partial(whole, expected="expected a whole number of 64 bits after int:"),
    "float": partial(number, expected="expected a number after float:"),
    "bool": _bool,
    "str": str,
}


EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
"""The weights of a mixture's experts, by their tensors' names in llama.cpp."""
MOST_NAMED = 1000
"""Layers that a pattern names; no model has more."""
LONGEST_PATTERN = 1024


def buffers(value: Any) -> tuple[str, ...]:
    """Return PATTERN=BUFFER from a text with commas, or from a list. Raises ValueError."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, Sequence) or not all(isinstance(part, str) for part in parts):
        raise ValueError("expected PATTERN=BUFFER")
    for part in parts:
        pattern, equals, buffer = part.partition("=")
        if not (pattern and equals and re.fullmatch(r"[\w.:-]{1,64}", buffer, re.ASCII)):
            raise ValueError("expected PATTERN=BUFFER, such as exps=CPU")
        if "\0" in pattern or len(pattern) > LONGEST_PATTERN:
            raise ValueError(f"expected a pattern of at most {LONGEST_PATTERN} characters")
    return tuple(parts)


def tensor_buffers(
    said: Sequence[str], cpu_moe: bool, n_cpu_moe: int
) -> tuple[tuple[str, str], ...]:
    """Return patterns of tensors' names and their buffers; the first that fits counts."""
    found = [(pattern, buffer) for pattern, _, buffer in (part.partition("=") for part in said)]
    if cpu_moe or n_cpu_moe >= MOST_NAMED:
        found.append((EXPERTS, "CPU"))
    elif n_cpu_moe:
        layers = "|".join(map(str, range(n_cpu_moe)))
        found.append((rf"blk\.({layers}){EXPERTS}", "CPU"))
    return tuple(found)


def proportions(value: Any) -> tuple[float, ...]:
    """Numbers from a text with commas or slashes, or from a list of them. Raises ValueError."""
    parts = re.split(r"[,/]+", value) if isinstance(value, str) else value
    wrong = ValueError("expected proportions such as 3,1: numbers from 0 on, not all of them 0")
    if not isinstance(parts, Sequence) or any(isinstance(part, bool) for part in parts):
        raise wrong
    try:
        numbers = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        raise wrong from None
    if not all(0 <= number <= 1e6 for number in numbers) or (numbers and not any(numbers)):
        raise wrong
    return numbers
