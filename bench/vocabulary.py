"""A made-up vocabulary of any size for byte-level BPE, in the merges of which every token is real.

Its words are syllables of a consonant and a vowel: "bake", "doniru". All words of two syllables are
tokens and some of those of three, so that text made of them comes to a little more than one token
a word, as English does with the vocabularies of real models; other text comes to a token for one
to three characters.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

SYLLABLES = tuple(a + b for a, b in itertools.product("bcdfghjklmnpqrstvwxz", "aeiou"))
SPACE = "\u0120"
"""Byte-level BPE's way to write a space."""
END, TURN, TURN_END = CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MOST_THREES = 200_000
"""Words of three syllables that may be tokens, of a million."""
SMALLEST = 256 + len(CONTROL) + 2 * len(SYLLABLES)
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens by id, in the writing of byte-level BPE; the control tokens are the last."""

    tokens: list[str]
    merges: list[str]
    """In the order in which they are done."""
    rare: list[int]
    """Tokens that no answer should hold: control tokens and bytes that are no text alone."""


def vocabulary(size: int, seed: str) -> Vocabulary:
    """``size`` tokens, the same for the same seed. Raises ValueError if it is below SMALLEST."""
    if size < SMALLEST:
        raise ValueError(f"a vocabulary has {SMALLEST} tokens at least, not {size}")
    letters = byte_letters()
    pairs = list(itertools.islice(_pairs(seed), size - len(letters) - len(CONTROL)))
    tokens = [*letters, *("".join(pair) for pair in pairs), *CONTROL]
    if len(tokens) < size:
        raise ValueError(f"a vocabulary has {len(tokens)} tokens at most, not {size}")
    halves = [at for at in range(256) if not 32 <= at < 127 and at != ord("\n")]
    controls = range(size - len(CONTROL), size)
    return Vocabulary(tokens, [" ".join(pair) for pair in pairs], [*halves, *controls])


def byte_letters() -> list[str]:
    """The letter that stands for each byte: itself where it can be seen, else one from 256 on."""
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = itertools.count(256)
    return [chr(byte) if byte in seen else chr(next(others)) for byte in range(256)]


def _pairs(seed: str) -> Iterator[tuple[str, str]]:
    """All merges: a syllable, a space before it, two syllables after a space and without, three."""
    rng, number = random.Random(seed), len(SYLLABLES)
    yield from ((syllable[0], syllable[1]) for syllable in SYLLABLES)
    yield from ((SPACE, syllable) for syllable in SYLLABLES)
    twos = list(itertools.product(SYLLABLES, SYLLABLES))
    rng.shuffle(twos)  # a vocabulary that is cut off here has some of all
    yield from ((SPACE + a, b) for a, b in twos)
    yield from twos
    for at in rng.sample(range(number**3), MOST_THREES):
        two, last = divmod(at, number)
        yield SPACE + "".join(twos[two]), SYLLABLES[last]
