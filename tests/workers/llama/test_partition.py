"""Special tokens in a text: what llama.cpp's loop finds, found in one pass."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workers.llama.partition import Partition, Special, SpecialMatch, Undecided

SPACES = " \t\n\v\f\r"
Fragment = tuple[int, int] | Special
FOUND = "|||EMAIL|||"


def llama_cpp_order(data: bytes, specials: list[Special]) -> list[Fragment]:
    """Return the fragments that llama.cpp's tokenizer_st_partition makes, in its manner."""
    fragments: list[Fragment] = [(0, len(data))] if data else []
    for special in sorted(specials, key=lambda special: -len(special.mark)):
        fragments = [part for whole in fragments for part in _split(data, whole, special)]
    return fragments


def _split(data: bytes, whole: Fragment, special: Special) -> list[Fragment]:
    if isinstance(whole, Special):
        return [whole]
    start, end = whole
    at = data.find(special.mark, start, end)
    if at < 0:
        return [whole]
    left, right = at, at + len(special.mark)
    while special.lstrip and left > start and chr(data[left - 1]) in SPACES:
        left -= 1
    while special.rstrip and right < end and chr(data[right]) in SPACES:
        right += 1
    before: list[Fragment] = [(start, left)] if left > start else []
    behind = _split(data, (right, end), special) if right < end else []
    return [*before, special, *behind]


def fragments(data: bytes, cuts: list[SpecialMatch]) -> list[tuple[int, int] | int]:
    """Return cuts and what is between them in the manner of ``llama_cpp_order``."""
    found: list[tuple[int, int] | int] = []
    at = 0
    for start, end, token in [*cuts, SpecialMatch(len(data), len(data), -1)]:
        found += [(at, start)] if start > at else []
        found.append(token)
        at = end
    return found[:-1]


MARKS = st.lists(st.text("<ab|", min_size=1, max_size=5), unique=True, max_size=6)
STRIPS = st.tuples(st.booleans(), st.booleans())


@given(
    marks=MARKS,
    strips=st.lists(STRIPS, min_size=6, max_size=6),
    text=st.lists(st.sampled_from(["<", "a", "b", "|", " ", "\n", "ü"]), max_size=40).map("".join),
)
@example(marks=["|||IP|||", FOUND], strips=[(False, False)] * 6, text="|||IP|||EMAIL||||||IP|||x")
@example(marks=["\n" * n for n in range(2, 9)], strips=[(False, False)] * 7, text="a" + "\n" * 40)
def test_cuts_are_llama_cpps(marks: list[str], strips: list[tuple[bool, bool]], text: str) -> None:
    specials = [
        Special(token, mark.encode(), False, lstrip, rstrip)
        for token, (mark, (lstrip, rstrip)) in enumerate(zip(marks, strips, strict=False))
    ]
    data = text.encode()
    expected = [
        each.token if isinstance(each, Special) else each
        for each in llama_cpp_order(data, specials)
    ]
    try:
        cuts = Partition(specials).cuts(data)
    except Undecided:
        pairs = [(one, other) for one in marks for other in marks if len(one) == len(other)]
        assert any(
            one != other and any(one[n:] == other[:-n] for n in range(1, len(one)))
            for one, other in pairs
        ), "two of one length overlap"
        return
    assert fragments(data, cuts) == expected


@given(marks=MARKS, text=st.text("<ab|", max_size=60), plain=st.lists(st.booleans(), min_size=60))
def test_control_tokens_count_where_they_are_allowed(
    marks: list[str], text: str, plain: list[bool]
) -> None:
    """Words count everywhere, control tokens where no letter of theirs is mere text."""
    specials = [Special(at, mark.encode(), at % 2 == 0) for at, mark in enumerate(marks)]

    def allowed(start: int, end: int) -> bool:
        return not any(plain[start:end])

    cuts = Partition(specials).cuts(text.encode(), allowed)
    for start, end, token in cuts:
        assert specials[token].mark == text[start:end].encode()
        assert not specials[token].control or allowed(start, end)
    for start, end in (each for each in fragments(text.encode(), cuts) if isinstance(each, tuple)):
        for special in specials:
            for match in re.finditer(re.escape(special.mark), text.encode()[start:end]):
                at = start + match.start()
                assert special.control
                assert not allowed(at, at + len(special.mark))


def test_a_search_finds_what_lies_across_its_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.llama.partition.WINDOW", 3)
    partition = Partition([Special(1, b"<end>", True), Special(2, b"<en", True)])
    for gap in range(8):
        data = b"x" * gap + b"<end>" + b"y" * gap + b"<en"
        assert [(cut.start, cut.token) for cut in partition.cuts(data)] == [
            (gap, 1),
            (2 * gap + 5, 2),
        ]


def test_vocabulary_without_special_tokens() -> None:
    assert Partition([]).cuts(b"<s> text") == []
