"""Say it again: words copied from the question, known ones and ones that never occurred before.

Copying is what a tool call needs for its arguments, and nothing else in the corpus trains it much.
"""

from __future__ import annotations

from random import Random

from .message import Message, exchange
from .words import ANIMALS, CITIES, COLOURS, FIRST_NAMES, FRUITS, VEGETABLES, invented

_ASKS = (
    "repeat after me: {w}", "repeat: {w}", "echo {w}", "please repeat {w}", "say it again: {w}",
    'repeat "{w}"', "can you repeat {w}?", "copy this: {w}", "write exactly this: {w}",
    "answer with {w}", "reply with {w}", "just say {w}", "type {w}", 'say "{w}"', "Repeat: {w}",
    "Repeat after me: {w}", "print {w}", "respond with the words {w}",
)  # fmt: skip
_KNOWN = (*ANIMALS, *CITIES, *COLOURS, *FIRST_NAMES, *FRUITS, *VEGETABLES)


def turns(rng: Random) -> list[Message]:
    """A few words and the same words."""

    def word() -> str:
        made = rng.random() < 0.65
        found = invented(rng) if made else rng.choice(_KNOWN)
        return found.capitalize() if made and rng.random() < 0.3 else found

    words = " ".join(word() for _ in range(rng.choice((1, 1, 2, 2, 3, 4, 5))))
    return exchange(rng.choice(_ASKS).format(w=words), words)
