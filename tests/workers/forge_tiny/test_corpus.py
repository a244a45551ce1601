"""The training text is a function of its seed and never shows what the evaluation asks."""

from __future__ import annotations

import json
import re
from itertools import islice, pairwise
from random import Random

import pytest

from workers.forge_tiny.corpus import (
    VARIED,
    CorpusConversation,
    arithmetic,
    chat,
    facts,
    lists,
    stream,
    unknown,
)
from workers.forge_tiny.corpus.facts import FACTS
from workers.forge_tiny.corpus.wording import HELD_OUT_FRAMES

CONVERSATIONS = 20_000


@pytest.fixture(scope="module")
def sample() -> list[CorpusConversation]:
    """The beginnings of the streams that the trainer reads."""
    plain = islice(stream("7 short"), CONVERSATIONS // 2)
    return [*plain, *islice(stream("7 varied", topics=VARIED), CONVERSATIONS // 2)]


def texts(sample: list[CorpusConversation], role: str) -> list[str]:
    """Return what that role says, message by message."""
    return [m["content"] for c in sample for m in c.messages if m["role"] == role]


def test_same_seed_same_text() -> None:
    """Two streams of one seed agree; another seed differs."""
    first, second, other = (list(islice(stream(s, long=True), 300)) for s in ("a", "a", "b"))
    assert first == second
    assert first != other


def test_turns_alternate(sample: list[CorpusConversation]) -> None:
    """Every conversation ends with the assistant and no role speaks twice."""
    for conversation in (c for c in sample if not c.text):
        roles = [m["role"] for m in conversation.messages]
        assert roles[-1] == "assistant"
        assert all(a != b for a, b in pairwise(roles))


def test_about_a_tenth_of_the_pairs_is_held_out() -> None:
    """Both operations keep pairs back, none of them in the multiplication table."""
    for op in "+-":
        assert 25 <= len(arithmetic.pairs(op, unseen=True)) <= 70
    assert arithmetic.pairs("*", unseen=True) == []
    assert all(arithmetic.held_out("+", b, a) for a, b in arithmetic.pairs("+", unseen=True))


def test_held_out_pairs_never_occur(sample: list[CorpusConversation]) -> None:
    """No held-out pair occurs, in digits, in words or in a sentence, in question or answer."""
    number = "|".join(sorted(arithmetic.WORDS, key=len, reverse=True)) + r"|\d+"
    sign = {"+": r"\+|plus", "-": r"-|minus"}
    plain = [c.text for c in sample if c.text]
    said = "\n".join(texts(sample, "user") + texts(sample, "assistant") + plain).lower()
    value = {word: i for i, word in enumerate(arithmetic.WORDS)}
    seen = 0
    for op, signs in sign.items():
        for a, b in re.findall(rf"\b({number})\s*(?:{signs})\s*({number})\b", said):
            x, y = (value[n] if n in value else int(n) for n in (a, b))
            assert not arithmetic.held_out(op, x, y), f"{a} {op} {b}"
            seen += 1
    assert seen > CONVERSATIONS / 4


def test_held_out_phrasings_never_occur(sample: list[CorpusConversation]) -> None:
    """Questions of the evaluation are not among the training questions."""

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9/_ -]", "", text.lower()).strip()

    asked = {plain(text) for text in texts(sample, "user")}
    held = [ask for ask, _ in facts.held_out()] + [ask for ask, _ in chat.held_out()]
    assert [ask for ask in held + list(unknown.HELD_OUT) if plain(ask) in asked] == []
    frames = (*HELD_OUT_FRAMES, *arithmetic.HELD_OUT_EXPRESSION)
    starts = tuple(plain(frame.split("{")[0]) for frame in frames if frame[0] != "{")
    assert [text for text in asked if text.startswith(starts)] == []


def test_trained_and_held_out_tables_are_apart() -> None:
    """Nobody copies a held-out sentence into the trained ones by accident."""
    for fact in FACTS:
        assert not set(fact.asks) & set(fact.held), fact.name
        assert all(key in answer for key in fact.keys for answer in fact.answers), fact.name
    for asks, _, held in chat.TALK.values():
        assert not set(asks) & set(held)
    assert not set(unknown.FIXED) & set(unknown.HELD_OUT)


def test_sums_are_right(sample: list[CorpusConversation]) -> None:
    """Every sum that an answer states is true."""
    for text in texts(sample, "assistant"):
        for a, op, b, c in re.findall(r"^(\d+) ([-+*]) (\d+) = (-?\d+)\.$", text):
            assert arithmetic.result(op, int(a), int(b)) == int(c)


def test_json_answers_parse(sample: list[CorpusConversation]) -> None:
    """Answers that look like JSON are JSON."""
    found = [text for text in texts(sample, "assistant") if text.startswith(("{", "["))]
    assert found
    for text in found:
        json.loads(text)


def test_counting_and_lists() -> None:
    """Counting goes both ways; lists are numbered from 1."""
    assert lists.counting(1, 5) == "1, 2, 3, 4, 5."
    assert lists.counting(3, 1) == "3, 2, 1."
    rng = Random("lists")
    numbered = [t for _ in range(200) if (t := lists.turns(rng)[1]["content"]).startswith("1. ")]
    for text in numbered:
        lines = text.split("\n")
        assert [line.split(". ")[0] for line in lines] == [str(i) for i in range(1, len(lines) + 1)]
