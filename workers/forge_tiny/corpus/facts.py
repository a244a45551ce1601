"""Questions about Forge: phrasing of the table in `facts.toml`."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from .message import Message, exchange
from .tables import read
from .wording import HELD_OUT_FRAMES, frame, rough, varied_frame, worn


class Fact(NamedTuple):
    """One thing to know: ways to ask, questions never trained, answers, words every answer has."""

    name: str
    nouns: tuple[str, ...]
    asks: tuple[str, ...]
    held: tuple[str, ...]
    answers: tuple[str, ...]
    keys: tuple[str, ...]


FACTS = tuple(
    Fact(row["name"], *(tuple(row[key]) for key in Fact._fields[1:]))
    for row in read("facts")["fact"]
)
_SCOPES = ("{s} in Forge", "{s} in forge", "Forge's {s}", "{s} here")


def question(rng: Random, fact: Fact, *, varied: bool = False) -> str:
    """One trained way to ask for the fact: a frame around a noun or a whole question."""
    if rng.random() < (0.5 if varied else 0.4):
        noun = rng.choice(fact.nouns)
        if rng.random() < 0.1 and "orge" not in noun:
            noun = rng.choice(_SCOPES).format(s=noun)
        return rough(rng, (varied_frame if varied else frame)(rng, noun))
    asked = rng.choice(fact.asks)
    return rough(rng, worn(rng, asked) if varied and rng.random() < 0.3 else asked)


def turns(rng: Random) -> list[Message]:
    """One question and its answer."""
    fact = rng.choice(FACTS)
    return exchange(question(rng, fact), rng.choice(fact.answers))


def varied_turns(rng: Random) -> list[Message]:
    """The same, asked in more ways."""
    fact = rng.choice(FACTS)
    return exchange(question(rng, fact, varied=True), rng.choice(fact.answers))


def held_out() -> list[tuple[str, Fact]]:
    """Every question of the evaluation: new sentences, and new frames around known nouns."""
    found = []
    for number, fact in enumerate(FACTS):
        found += [(ask, fact) for ask in fact.held]
        found += [
            (HELD_OUT_FRAMES[(number + i) % len(HELD_OUT_FRAMES)].format(s=noun), fact)
            for i, noun in enumerate(fact.nouns)
        ]
    return found
