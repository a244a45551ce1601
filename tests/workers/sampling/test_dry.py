"""DRY's penalties, against the definition written down plainly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.protocol import Dry
from workers.sampling.dry import MAX_LAST_N, MAX_TOKENS, MOST, Repetitions

PIECES = [b"a", b"b", b"c", b".", b" a", b"b.", b"\xc3", b"\xa9", b""]
A, B, C, DOT, SPACE_A, B_DOT, E1, E2, CONTROL = range(len(PIECES))
TOKENS = st.lists(st.integers(0, len(PIECES) - 1), max_size=40)


def penalties(dry: Dry, tokens: list[int]) -> dict[int, float]:
    repetitions = Repetitions(dry, PIECES)
    for token in tokens:
        repetitions.accept(token)
    return dict(repetitions.penalties())


def since_break(tokens: list[int], breakers: tuple[str, ...]) -> int:
    """Tokens after the last one in which an occurrence of a breaker ends."""
    text = b"".join(PIECES[token] for token in tokens)
    ends = [
        at + len(b.encode())
        for b in breakers
        for at in range(len(text))
        if text.startswith(b.encode(), at)
    ]
    for count in range(len(tokens)):
        end = len(b"".join(PIECES[t] for t in tokens[: len(tokens) - count]))
        start = end - len(PIECES[tokens[-1 - count]])
        if any(start < e <= end for e in ends):
            return count
    return len(tokens)


def expected(dry: Dry, tokens: list[int]) -> dict[int, float]:
    """For each token: the longest end of the text that it already followed once."""
    seen = tokens if dry.last_n < 0 else tokens[len(tokens) - min(dry.last_n, len(tokens)) :]
    limit = since_break(tokens, dry.breakers)
    found: dict[int, float] = {}
    for length in range(dry.allowed_length, len(seen)):
        end = seen[len(seen) - length :]
        for at in range(length, len(seen)):
            token = seen[at]
            breaks = any(breaker.encode() in PIECES[token] for breaker in dry.breakers)
            if length <= limit and seen[at - length : at] == end and not breaks:
                cost = dry.multiplier * dry.base ** (length - dry.allowed_length)
                found[token] = min(MOST, cost)
    return found


@given(
    TOKENS,
    st.integers(1, 4),
    st.sampled_from([-1, 1, 2, 5, 12, 64]),
    st.lists(st.sampled_from([".", "a.", " a", "é", "abc"]), max_size=3).map(tuple),
)
def test_as_defined(
    tokens: list[int], allowed: int, last_n: int, breakers: tuple[str, ...]
) -> None:
    dry = Dry(0.5, 2.0, allowed, last_n, breakers)
    assert penalties(dry, tokens) == pytest.approx(expected(dry, tokens))


def test_longer_costs_more() -> None:
    dry = Dry(0.8, 1.75, 2, -1, ())
    assert penalties(dry, [A, B]) == {}
    assert penalties(dry, [A, B, C, A]) == {}, "one token is allowed"
    assert penalties(dry, [A, B, C, A, B]) == {C: 0.8}
    assert penalties(dry, [A, B, C, DOT, A, B, C]) == {DOT: pytest.approx(0.8 * 1.75)}


def test_a_breaker_ends_a_repetition() -> None:
    """Also one that began in a token before, and one that only half of a character is missing."""
    tokens = [A, B, DOT, C, A, B, DOT]
    assert penalties(Dry(1.0, breakers=()), tokens) == {C: 1.75}
    assert penalties(Dry(1.0, breakers=(".",)), tokens) == {}
    assert penalties(Dry(1.0, breakers=("b.",)), tokens) == {}
    assert penalties(Dry(1.0, breakers=("c.",)), tokens) == {C: 1.75}
    halves = [E1, E2, C, E1, E2]
    assert penalties(Dry(1.0, breakers=("é",)), halves) == {}
    assert penalties(Dry(1.0, breakers=("è",)), halves) == {C: 1.0}


def test_breakers_cost_nothing() -> None:
    tokens = [A, B, DOT, C, A, B]
    assert penalties(Dry(1.0, breakers=()), tokens) == {DOT: 1.0}
    assert penalties(Dry(1.0, breakers=(".",)), tokens) == {}


@pytest.mark.parametrize("dry", [Dry(100.0, 100.0, 1, -1, ()), Dry(5e-324, 100.0, 1, -1, ())])
def test_bounded(dry: Dry) -> None:
    """The same token for ever: the lengths would soon leave the floats."""
    tokens = [A] * (MAX_LAST_N + 100)
    repetitions = Repetitions(dry, PIECES)
    for token in tokens:
        repetitions.accept(token)
    assert repetitions.penalties() == [(A, MOST)]
    assert len(repetitions._lengths) < MAX_LAST_N


def test_the_longest_repetitions_if_there_are_too_many() -> None:
    pieces = [b"x"] * 500
    repetitions = Repetitions(Dry(1.0, 1.75, 1, -1, ()), pieces)
    for token in range(1, 200):
        repetitions.accept(0)
        repetitions.accept(token)
    repetitions.accept(199)
    repetitions.accept(0)
    found = dict(repetitions.penalties())
    assert len(found) == MAX_TOKENS
    repetitions.accept(5)
    repetitions.accept(0)
    assert dict(repetitions.penalties())[6] == 1.75**2
