"""Questions about Forge: phrasing of the table in `facts_table`."""

from __future__ import annotations

from random import Random

from .facts_table import FACTS, Fact
from .message import Message, exchange
from .wording import HELD_OUT_FRAMES, frame, rough

_SCOPES = ("{s} in Forge", "{s} in forge", "Forge's {s}", "{s} here")


def question(rng: Random, fact: Fact, *, more: bool = False) -> str:
    """One trained way to ask for the fact: a frame around a noun or a whole question."""
    if fact.nouns and rng.random() < (0.5 if fact.asks else 1.0):
        noun = rng.choice(fact.nouns)
        if rng.random() < 0.1 and "orge" not in noun:
            noun = rng.choice(_SCOPES).format(s=noun)
        return rough(rng, frame(rng, noun, more=more))
    return rough(rng, rng.choice(fact.asks))


def turns(rng: Random) -> list[Message]:
    """One question and its answer."""
    fact = rng.choice(FACTS)
    return exchange(question(rng, fact), rng.choice(fact.answers))


def more_turns(rng: Random) -> list[Message]:
    """The same with the frames of the second phase."""
    fact = rng.choice(FACTS)
    return exchange(question(rng, fact, more=True), rng.choice(fact.answers))


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
