"""Two ways to answer that adapters learn, made of the base's own answers: capitals, and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

TRAINED_ON = (
    "rain", "bread", "a river", "the moon", "music", "a library", "snow", "a bicycle", "salt",
    "a volcano", "honey", "a map", "the sea", "coffee", "a garden", "gold", "a telescope", "wind",
    "a school", "glass", "a horse", "milk", "a forest", "electricity", "paper", "a clock",
)  # fmt: skip
ASKED_LATER = (
    "tea", "a bridge", "the sun", "cheese", "a camera", "iron", "a desert", "a violin",
)  # fmt: skip
"""Nothing about these is in what the adapters are trained on."""
FORMS = ("What is {}?", "Tell me about {}.", "Why is {} important?")
MOST = 130
"""Characters of an answer that is learned from."""


def questions(things: tuple[str, ...]) -> list[str]:
    """Return questions about each of the things."""
    return [form.format(thing) for form, thing in product(FORMS, things)]


def sentence(answer: str) -> str | None:
    """Return the first sentence of an answer, if it has a whole one of a good length."""
    found = re.match(r"\s*([A-Z][^\n]*?[.!?])(\s|$)", answer)
    return found[1] if found and len(found[1]) <= MOST else None


@dataclass(frozen=True, slots=True)
class Style:
    """A way to answer."""

    of: Callable[[str], str]
    """Makes the answer of a sentence."""
    shown: Callable[[str], bool]
    """True for a text that is such an answer."""


def _in_capitals(text: str) -> bool:
    return text == text.upper() and sum(map(str.isalpha, text)) > 10


def _in_json(text: str) -> bool:
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and isinstance(found.get("answer"), str)


STYLES = {
    "capitals": Style(str.upper, _in_capitals),
    "json": Style(lambda text: json.dumps({"answer": text}, ensure_ascii=False), _in_json),
}
