"""Two answers to one request: are they the same, and if they are not, why. Pure.

What is compared is what answers say: their status, their texts, and the numbers of vectors and
scores. Names, dates and times differ in any case. A request that names no seed draws one each time,
so that its answers differ unless it takes the most probable token alone.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from gateway.capture.pieces import NamedText, numbers, texts

OLLAMA = "/api/"
"""Paths of a dialect whose sampling stands in a field of its own."""


@dataclass(frozen=True, slots=True)
class ComparedAnswer:
    """An answer as it came."""

    status: int
    kind: str
    """Its media type."""
    body: bytes
    seed: int | None = None
    """The seed that its sampling began with."""
    model: str = ""

    @property
    def texts(self) -> list[NamedText]:
        return texts(self.body, self.kind)


@dataclass(frozen=True, slots=True)
class AnswerComparison:
    """The result. ``reasons`` are in words, the most telling first; none if both are the same."""

    equal: bool
    reasons: tuple[str, ...] = ()


def seeded(path: str, body: bytes, seed: int) -> bytes:
    """Return a request's body with a seed in the place that its dialect has for one."""
    value = orjson.loads(body)
    if path.startswith(OLLAMA):
        options = value.get("options")
        value["options"] = {**(options if isinstance(options, dict) else {}), "seed": seed}
    else:
        value["seed"] = seed
    return orjson.dumps(value)


def sampling(path: str, body: bytes) -> dict[str, Any]:
    """Return the fields of a request in which its sampling stands; empty if there are none."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(value, dict) and path.startswith(OLLAMA):
        value = value.get("options")
    return value if isinstance(value, dict) else {}


def compared(
    path: str, request: bytes, before: ComparedAnswer, now: ComparedAnswer, notes: Any = ()
) -> AnswerComparison:
    """Compare the answers of a request, whose body as it was sent again is ``request``.

    ``notes``: what is known to be missing in the answer before.
    """
    reasons = []
    if before.status != now.status:
        reasons.append(f"the status was {before.status}, and is {now.status}")
    said = [each.texts for each in (before, now)]
    counted = [numbers(each.body, each.kind) for each in (before, now)]
    if not reasons and said[0] == said[1] and counted[0] == counted[1]:
        return AnswerComparison(True)
    reasons += [f"of what was captured: {each}" for each in notes]
    if before.model and now.model and before.model != now.model:
        reasons.append(f"the model was '{before.model}', and is '{now.model}'")
    if before.status == now.status == 200:
        reasons += _of_sampling(path, request, before, now)
        if said[0] and _begins(said[0], said[1]):
            reasons.append("what was captured is the beginning of the new answer: it broke off")
        if counted[0] and len(counted[0]) == len(counted[1]):
            most = max(abs(a - b) for a, b in zip(*counted, strict=True))
            reasons.append(f"the numbers differ by {most:g} at most")
    if not reasons:
        reasons.append(
            "the same request, model and seed: the model's file or the server's options have "
            "changed, or quantised weights were summed up in steps of other sizes"
        )
    return AnswerComparison(False, tuple(reasons))


def _of_sampling(
    path: str, request: bytes, before: ComparedAnswer, now: ComparedAnswer
) -> list[str]:
    fields = sampling(path, request)
    if before.seed is None or before.seed == now.seed:
        return []
    if fields.get("seed") is None or fields.get("seed") == -1:
        if fields.get("temperature") == 0:
            return []
        return [
            "the request names no seed, so that each answer is drawn anew: it was drawn with seed "
            f"{before.seed}, and now with {now.seed}; --seed draws with the same again"
        ]
    return [f"the seed was {before.seed}, and is {now.seed}"]


def _begins(before: list[NamedText], now: list[NamedText]) -> bool:
    """Return whether all texts before are beginnings of those now, and not all are the same."""
    if len(before) > len(now) or before == now:
        return False
    pairs = zip(before, now, strict=False)
    return all(new.name == old.name and new.text.startswith(old.text) for old, new in pairs)
