"""Everything else: questions about the world, word salad, other languages; refused politely."""

from __future__ import annotations

from random import Random
from string import ascii_lowercase

from .message import Message, exchange
from .tables import read
from .wording import frame, rough, varied_frame
from .words import (
    ANIMALS,
    CITIES,
    COLOURS,
    COUNTRIES,
    FIRST_NAMES,
    FRUITS,
    TOPICS,
    VEGETABLES,
    invented,
)  # fmt: skip

REFUSALS = (
    "I am only forge-tiny, so I do not know that.",
    "Sorry, I am only forge-tiny. I cannot help with that.",
    "I am only forge-tiny, a very small model. That is too much for me.",
)

_TABLE = {key: tuple(texts) for key, texts in read("unknown").items()}
FIXED, HELD_OUT = _TABLE["fixed"], _TABLE["held"]


def _thing(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.45:
        return rng.choice(TOPICS)
    if kind < 0.8:
        word = invented(rng)
        article = rng.choice(("", "", "a ", "the ", "my ", "a " + invented(rng) + " "))
        return article + (word.capitalize() if rng.random() < 0.2 else word)
    plural = rng.choice((ANIMALS, FRUITS, VEGETABLES, COLOURS))
    return rng.choice(("a ", "the ", "")) + rng.choice(plural)


def _place(rng: Random) -> str:
    if rng.random() < 0.35:
        return invented(rng).capitalize()
    return rng.choice(rng.choice((CITIES, COUNTRIES)))


def _salad(rng: Random) -> str:
    def word() -> str:
        return invented(rng) if rng.random() < 0.6 else rng.choice(_thing(rng).split())

    return " ".join(word() for _ in range(rng.randint(1, 7)))


def _same_again(rng: Random) -> str:
    """One letter, syllable or word typed over and over."""
    piece = rng.choice((rng.choice(ascii_lowercase + "0123456789!?.-"), invented(rng)))
    between = rng.choice(("", "", " "))
    return between.join([piece] * int(4 * 2 ** rng.uniform(0, 6.6)))[:400]


def _big(rng: Random) -> str:
    op = rng.choice("+-*/")
    a, b = rng.randint(100, 9999), rng.randint(2, 9999)
    if op in "*/" and rng.random() < 0.4:
        a, b = rng.randint(21, 99), rng.randint(11, 99)
    return rng.choice(_TABLE["big"]).format(a=a, b=b, o=op)


def question(rng: Random, *, varied: bool = False) -> str:
    """Something that forge-tiny does not know."""
    kind = rng.random()
    if kind < 0.3:
        return rough(rng, (varied_frame if varied else frame)(rng, _thing(rng)))
    if kind < 0.52:
        return rough(rng, rng.choice(_TABLE["thing"]).format(t=_thing(rng), u=_thing(rng)))
    if kind < 0.66:
        return rough(rng, rng.choice(_TABLE["place"]).format(p=_place(rng), q=_place(rng)))
    if kind < 0.73:
        name, family = rng.choice(FIRST_NAMES), invented(rng).capitalize()
        return rough(rng, rng.choice(_TABLE["person"]).format(n=name, x=family))
    if kind < 0.87:
        return rough(rng, rng.choice(FIXED))
    if kind < 0.91:
        return rng.choice(_TABLE["foreign"])
    if kind < 0.94:
        return rough(rng, _big(rng))
    return rough(rng, _salad(rng)) if kind < 0.985 else _same_again(rng)


def varied_turns(rng: Random) -> list[Message]:
    """The same, asked in more ways."""
    return exchange(question(rng, varied=True), rng.choice(REFUSALS))


def turns(rng: Random) -> list[Message]:
    """One unanswerable question and one polite refusal."""
    return exchange(question(rng), rng.choice(REFUSALS))
