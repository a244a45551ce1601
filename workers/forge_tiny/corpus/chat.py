"""Greetings, identity, thanks, farewells and other small talk."""

from __future__ import annotations

from random import Random

from .message import Message, exchange
from .tables import read
from .wording import rough
from .words import FIRST_NAMES

TALK: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    row["name"]: (tuple(row["asks"]), tuple(row["answers"]), tuple(row["held"]))
    for row in read("talk")["topic"]
}
"""Per topic: questions, answers, and questions kept for the evaluation."""

_NAME = ("my name is {n}", "I am {n}", "I'm {n}", "call me {n}", "hi, I am {n}",
"hello, my name is {n}", "this is {n}",
         "hi, my name is {n}", "hello, I'm {n}", "my name's {n}")  # fmt: skip
_RECALL = (
    "what is my name?", "do you remember my name?", "who am I?", "what was my name?", "say my name",
)  # fmt: skip


def turns(rng: Random) -> list[Message]:
    """One small-talk exchange."""
    asks, answers, _ = TALK[rng.choice(list(TALK))] if rng.random() < 0.7 else TALK[
        rng.choice(("hello", "who", "can", "howareyou", "thanks", "bye"))
    ]  # fmt: skip
    return exchange(rough(rng, rng.choice(asks)), rng.choice(answers))


def introduction(rng: Random) -> tuple[list[Message], list[Message]]:
    """Somebody says a name, and later asks for it."""
    name = rng.choice(FIRST_NAMES)
    said = rng.choice(_NAME).format(n=name)
    said = said if rng.random() < 0.5 else said + rng.choice("!.")
    first = exchange(said, f"Nice to meet you, {name}! How can I help you?")
    return first, exchange(rough(rng, rng.choice(_RECALL)), f"Your name is {name}.")


def unnamed(rng: Random) -> list[Message]:
    """Asked for a name that nobody has said."""
    return exchange(rough(rng, rng.choice(_RECALL)), "You have not told me your name.")


def held_out() -> list[tuple[str, tuple[str, ...]]]:
    """Questions that are never trained, each with the answers that count as right."""
    return [(ask, answers) for _, answers, held in TALK.values() for ask in held]
