"""Explain a pydantic ValidationError: which part of the value is wrong, and in what way. Pure.

pydantic lists an error for each branch of a union; one of them, or one sentence made of several,
is what a person needs. Bodies, options, keys, model tables and profiles are explained alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

MOST_SHOWN = 60
"""Characters of a wrong value that an error repeats: a value may have as many as a body."""
LONGEST_INDEX = 9
"""Digits of an index of a list; Python refuses to read thousands of digits."""
SHOULD_BE = "Input should be "
"""Beginning of pydantic's messages about types."""


def shown(value: Any) -> str:
    """Return a value fit for one line of an error."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


@dataclass(frozen=True, slots=True)
class ValidationProblem:
    """The first problem of a value."""

    path: tuple[str, ...]
    """Keys and indices from the whole value to the wrong part."""
    kind: Literal["unknown", "missing", "refused", "wrong"]
    """``unknown``: there is no such key; ``missing``: a key that is required; ``refused``: one that
    is known and not served."""
    message: str
    """pydantic's, or one sentence for several of them. It does not show the value."""
    value: Any = field(repr=False)
    """The value at the path; it may be a secret."""

    @property
    def reason(self) -> str:
        """The message as the continuation of a sentence."""
        return self.message[:1].lower() + self.message[1:]


def explain(error: ValidationError, value: Any) -> ValidationProblem:
    """Return the first problem that pydantic found in ``value``."""
    errors = error.errors(include_url=False, include_input=False)
    # A field that takes several types yields an error for each. The one that got furthest into the
    # value is about the type that was meant; one about the value says more than one about the type.
    same = [e for e in errors if e["loc"][:1] == errors[0]["loc"][:1]]
    places = [_place(e["loc"], value, e["type"] == "missing") for e in same]
    furthest = max(_progress(path) for path, _ in places)
    path, wrong = next(place for place in places if _progress(place[0]) == furthest)
    about = [e for e, place in zip(same, places, strict=True) if place[0] == path]
    first = next((e for e in about if not e["type"].endswith(("_type", "literal_error"))), about[0])
    kind, message = first["type"], first["msg"].removeprefix("Value error, ")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        path += (first["ctx"]["discriminator"].strip("'"),)
    if kind == "refused_field":
        return ValidationProblem((*path, first["ctx"]["name"]), "refused", message, wrong)
    if kind == "extra_forbidden":
        return ValidationProblem(path, "unknown", message, wrong)
    if kind in ("missing", "union_tag_not_found"):
        return ValidationProblem(path, "missing", message, wrong)
    if kind == "union_tag_invalid":
        message = f"{SHOULD_BE}{first['ctx']['expected_tags']}"
    elif kind in ("model_type", "model_attributes_type", "dict_type"):
        message = f"{SHOULD_BE}an object"
    elif first is about[0] and all(e["msg"].startswith(SHOULD_BE) for e in about):
        wanted = dict.fromkeys(e["msg"].removeprefix(SHOULD_BE) for e in about)
        message = f"{SHOULD_BE}{' or '.join(wanted)}"
    return ValidationProblem(path, "wrong", message, wrong)


def _progress(path: tuple[str, ...]) -> tuple[int, int]:
    """Return an error's place in a value: its depth, and its index in a list."""
    last = path[-1] if path else ""
    return len(path), int(last) if last.isdecimal() and len(last) <= LONGEST_INDEX else 0


def _place(loc: tuple[int | str, ...], value: Any, missing: bool) -> tuple[tuple[str, ...], Any]:
    """Return those parts of ``loc`` that are in the value, and what is there.

    The other parts name branches of a union.
    """
    path = list[str]()
    for at, part in enumerate(loc, start=1):
        if _holds(value, part):
            value = value[part]
        elif not (missing and at == len(loc)):
            continue
        path.append(str(part))
    return tuple(path), value


def _holds(value: Any, part: int | str) -> bool:
    """Return whether ``part`` is a key or an index of the value."""
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and part < len(value)
