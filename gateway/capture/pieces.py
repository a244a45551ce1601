"""A body as JSON values, and the texts in them, in any dialect. Pure.

An answer comes whole or as a stream of server-sent events or lines. A text of a stream is in pieces
that only together make sense: a name may begin in one event and end in the next. Pieces of one text
stand at the same place of their events, so the place names the text. Numbers whose name ends in
"index" tell several at one place apart: with ``n=2`` these are the texts "ab" and "xy":

    {"choices": [{"index": 0, "delta": {"content": "a"}}]}
    {"choices": [{"index": 1, "delta": {"content": "x"}}]}
    {"choices": [{"index": 0, "delta": {"content": "b"}}]}
    {"choices": [{"index": 1, "delta": {"content": "y"}}]}
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

DATA = b"data:"
TEXTS = ("content", "text", "response", "delta")
"""Names of an answer's texts in the dialects."""
THOUGHTS = ("reasoning_content", "reasoning", "thinking")
CALLS = ("arguments", "partial_json", "input")
TOLD = frozenset((*TEXTS, *THOUGHTS, *CALLS, "name"))
NUMBERS = frozenset(("embedding", "embeddings", "relevance_score", "score"))
"""Names of what an answer tells in numbers."""
ABOUT = frozenset(
    (
        *("error", "usage", "timings", "generation_settings", "prompt", "document", "logprobs"),
        *("completion_probabilities", "tools", "metadata"),
    )
)
"""Names of an answer's fields that tell of the request, or of single tokens."""


@dataclass(slots=True)
class BodyLine:
    """A line of a stream, or a whole body: its value, if it is JSON, between what surrounds it."""

    before: bytes
    value: Any
    after: bytes
    json: bool


class Leaf(NamedTuple):
    """A value that holds no other ones, and where it is."""

    place: int
    """Equal for pieces of one text."""
    name: str
    """The name of the field, or of the one around a list."""
    home: Any
    """The dict or list that it stands in."""
    at: Any
    """Its key or position there."""
    value: Any


def lines(body: bytes, kind: str) -> list[BodyLine]:
    """Divide a body of a media type; joined again the lines are the same bytes."""
    media = kind.partition(";")[0].strip().lower()
    if media == "text/event-stream":
        return [_event_line(each) for each in body.splitlines(keepends=True)]
    if media == "application/x-ndjson":
        return [_line(b"", each) for each in body.splitlines(keepends=True)]
    return [_line(b"", body)]


def _event_line(line: bytes) -> BodyLine:
    return (
        _line(DATA, line[len(DATA) :])
        if line.startswith(DATA)
        else BodyLine(line, None, b"", False)
    )


def _line(before: bytes, rest: bytes) -> BodyLine:
    text = rest.strip()
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return BodyLine(before + rest, None, b"", False)
    begin = rest.index(text)
    return BodyLine(before + rest[:begin], value, rest[begin + len(text) :], True)


def joined(found: Sequence[BodyLine]) -> bytes:
    """Return the body of lines whose values were changed."""
    return b"".join(
        each.before + (orjson.dumps(each.value) if each.json else b"") + each.after
        for each in found
    )


def leaves(
    found: Sequence[BodyLine], *, whole: Collection[str] = (), without: Collection[str] = ()
) -> Iterator[Leaf]:
    """Yield all values that hold no other ones, in their order, names of fields not included.

    Objects named in ``whole`` are not looked into, fields named in ``without`` left out. What is
    nested a thousand times is walked as well: without recursion.
    """
    places: dict[tuple[int, object], int] = {}

    def below(place: int, what: object) -> int:
        return places.setdefault((place, what), len(places) + 1)

    for each in found:
        if not each.json:
            continue
        todo: list[Leaf] = [Leaf(0, "", each, "value", each.value)]
        while todo:
            leaf = todo.pop()
            place, value = leaf.place, leaf.value
            if isinstance(value, dict) and leaf.name not in whole:
                marks = tuple(
                    number
                    for name, number in value.items()
                    if name.endswith("index") and isinstance(number, int)
                )
                inside = below(place, marks) if marks else place
                todo += [
                    Leaf(below(inside, name), name, value, name, inner)
                    for name, inner in reversed(value.items())
                    if name not in without
                ]
            elif isinstance(value, list):
                todo += [
                    Leaf(place, leaf.name, value, at, value[at])
                    for at in range(len(value) - 1, -1, -1)
                ]
            else:
                yield leaf


class NamedText(NamedTuple):
    """A text of an answer."""

    name: str
    """The name of its field: content, text, reasoning_content, arguments ..."""
    text: str


def texts(body: bytes, kind: str) -> list[NamedText]:
    """Return the texts that an answer tells, each whole, in the order in which they begin.

    Empty for an answer without any, such as vectors, an error, or bytes that are no JSON.
    """
    told: dict[int, list[str]] = {}
    names: dict[int, str] = {}
    for leaf in leaves(_said(body, kind), whole=CALLS, without=ABOUT):
        text = leaf.value
        if isinstance(text, dict):
            text = orjson.dumps(text, option=orjson.OPT_SORT_KEYS).decode()
        if isinstance(text, str) and leaf.name in TOLD:
            told.setdefault(leaf.place, []).append(text)
            names[leaf.place] = leaf.name
    whole = [NamedText(names[place], "".join(each)) for place, each in told.items()]
    return [each for each in whole if each.text]


def numbers(body: bytes, kind: str) -> list[float]:
    """Return the vectors or scores of an answer, one number after the other."""
    found = leaves(_said(body, kind), without=ABOUT)
    return [
        leaf.value for leaf in found if leaf.name in NUMBERS and isinstance(leaf.value, int | float)
    ]


def _said(body: bytes, kind: str) -> list[BodyLine]:
    """Return the lines that tell the answer. OpenAI's Responses tell the whole in their last."""
    found = [each for each in lines(body, kind) if each.json]
    last = found[-1].value if found else None
    if isinstance(last, dict):
        last = last["response"] if isinstance(last.get("response"), dict) else last
        if "output" in last:
            return [BodyLine(b"", last["output"], b"", True)]
    return found
