"""The needs of a worker on a node of a cluster, as options and tables say them. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.config.numbers import number

MOST = 32
"""Resources or labels of one model."""
RESOURCE = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
VALUE = re.compile(r"!?[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""With ``!`` before it: any but this one."""
AMOUNTS, LABELS = "expected NAME=NUMBER", "expected LABEL=VALUE"
RESERVED = ("memory", "object_store_memory")


def resources(value: Any) -> tuple[str, ...]:
    """Return amounts as NAME=NUMBER, of a text with commas or a table. Raises ValueError."""
    found = dict[str, str]()
    for name, amount in _pairs(value, AMOUNTS):
        if not RESOURCE.fullmatch(name) or name in RESERVED:
            raise ValueError(f"{AMOUNTS}, where the name is CPU, GPU or that of a resource")
        found[name] = f"{_amount(name, amount):g}"
    return tuple(f"{name}={amount}" for name, amount in found.items())


def labels(value: Any) -> tuple[str, ...]:
    """Return labels as LABEL=VALUE, likewise. Raises ValueError."""
    found = dict(_pairs(value, LABELS))
    for label, wanted in found.items():
        if not LABEL.fullmatch(label) or not VALUE.fullmatch(wanted):
            raise ValueError(f"{LABELS}, of letters, digits, dots, dashes and underscores")
    return tuple(f"{label}={wanted}" for label, wanted in found.items())


def divided(said: Sequence[str]) -> dict[str, str]:
    """Return the values of such options by their names."""
    return dict(line.split("=", 1) for line in said)


def _pairs(value: Any, form: str) -> list[tuple[str, str]]:
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if isinstance(value, Mapping):
        pairs = [(str(name), str(said)) for name, said in value.items()]
    elif isinstance(value, Sequence) and all(isinstance(each, str) for each in value):
        pairs = [_pair(each, form) for each in value]
    else:
        raise ValueError(form)
    if len(pairs) > MOST:
        raise ValueError(f"expected {MOST} at most")
    return pairs


def _pair(text: str, form: str) -> tuple[str, str]:
    name, equals, said = (part.strip() for part in text.partition("="))
    if not equals:
        raise ValueError(form)
    return name, said


def _amount(name: str, text: str) -> float:
    amount = number(text, f"{name}: expected a number")
    if not 0 <= amount <= 1e6 or (amount > 1 and amount != int(amount)):
        raise ValueError(f"{name}: expected a part of 1, or a whole number up to a million")
    return amount
