"""A grammar of texts and the one of those texts inside JSON: each takes what the other takes."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.grammar_matcher import Bound
from tests.support.patch_grammar import PATCH_GRAMMAR
from workers.chat_format import NotQuotable, text_in_json

BOUND = Bound.over(())

EXPRESSIONS = [
    "a+",
    ".",
    ".*",
    "[^a]",
    r"[^\n]+",
    r"[\n]",
    r"[\"\\]+",
    r"\s",
    r"\S+",
    r"\w*",
    r"\W",
    r"\d{2,3}",
    r"\D",
    r"(a|\n)*b",
    r"(?:x\ty)?",
    r"(?s:.+)",
    r"\x41\u0042\x{43}",
    r"\p{L}+",
    r"\P{L}",
    r"\/\*[^*]*\*\/",
    r"[]a]",
    r"[a\]-]+",
    r"a{2}",
    r"\{\"k\": [0-9]+\}",
    r"é|ü",
]
FOLDED = [r"ab\n", "[a-c]n", "n."]
TEXTS = st.text(st.sampled_from('aAbBnNxy \t\n\r"\\/*{}]-0123:kCé\U0001f600\x00\x1f'), max_size=8)
"""Of the shape of the grammar that coding agents send for their patches."""


def takes(lark: str, text: str) -> bool:
    return BOUND.judge(json.dumps({"grammars": [{"lark_grammar": lark}]}), text) == "whole"


def inside(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


@pytest.mark.parametrize(
    "terminal", [*(f"/{each}/" for each in EXPRESSIONS), *(f"/{each}/i" for each in FOLDED)]
)
@given(text=TEXTS)
@settings(max_examples=40)
def test_an_expression_takes_the_same_texts(terminal: str, text: str) -> None:
    lark = f"start: {terminal}"
    assert takes(text_in_json(lark), inside(text)) == takes(lark, text)


@given(TEXTS.filter(bool), st.booleans(), TEXTS)
@settings(max_examples=60)
def test_a_literal_takes_the_same_texts(literal: str, fold: bool, text: str) -> None:
    lark = f"start: {json.dumps(literal, ensure_ascii=False)}{'i' if fold else ''} /a?/"
    for each in (text, literal, literal.swapcase(), literal + "a"):
        assert takes(text_in_json(lark), inside(each)) == takes(lark, each)


@pytest.mark.parametrize(
    "text",
    [
        '*** Begin Patch\n*** Add File: a "b".py\n+x = "\\n"\n*** End Patch\n',
        "*** Begin Patch\n*** Delete File: a\n*** End Patch",
        "*** Begin Patch\n*** Update File: a\n@@ def f():\n-\told\n+\tnew\n*** End Patch",
        "*** Begin Patch\n*** End Patch",
        "*** Begin Patch\n*** Add File: \n+x\n*** End Patch",
        "no patch",
    ],
)
def test_a_grammar_of_patches_takes_the_same_texts(text: str) -> None:
    plain = PATCH_GRAMMAR
    assert takes(text_in_json(plain), inside(text)) == takes(plain, text)


@pytest.mark.parametrize(
    ("lark", "text"),
    [
        ('start: "a".."c" X\nX: "\\n".."\\r"', "b\n"),
        ("start: WS INT\n%import common (WS, INT)", " \n1"),
        ("start: BREAK\n%import common.LF -> BREAK", "\n"),
        ('start: A A\nA: "a"\n%ignore /\\n/', "a\na"),
        ('start: A A\nA: "a"\nW: /\\s+/\n%ignore W\n%ignore W', "a\n a"),
        ('start: A A\nA: "a"\nW: / +/\n%ignore W\n%ignore W', "a  a"),
        ("start: /a+?b*?c{2}+/", "aabcc"),
        ("start: /" + "(" * 6 + "a." + ")*?" * 6 + "/", "aba\t"),
        ('start: "a" // a "comment" /of/ <this>\n', "a"),
    ],
)
def test_other_ways_to_write_a_terminal(lark: str, text: str) -> None:
    assert takes(text_in_json(lark), inside(text))


@pytest.mark.parametrize(
    ("lark", "about"),
    [
        ("start: <|end|>", "'<'"),
        ("start: <[7]>", "'<'"),
        ('start: %json {"type": "string"}', "%json"),
        ("start: @other", "'@'"),
        ("start: X & Y", "'&'"),
        ("start: ~X", "'~'"),
        ("start: /a(?=b)/", "(?"),
        ("start: /a$/", "anchor"),
        (r"start: /\bword/", "\\b"),
        ("start: /[a[b]]/", "class"),
        ("start: /[a&&b]/", "class"),
        (r"start: /\p{Greek}/", "property"),
        ("start: /a/x", "flags"),
        ("start: /a)/", "bracket"),
        ("start: /a" + "*" * 60_000 + "/", "repetition"),
        ("start: X\n%import common.NOTHING", "NOTHING"),
        ("start: X\n%import other.LF", "%import"),
        ('start: "a".."bc"', "range"),
    ],
)
def test_what_has_no_form_in_json_is_refused_by_name(lark: str, about: str) -> None:
    with pytest.raises(NotQuotable, match=re.escape(about)):
        text_in_json(lark)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(lark: str) -> None:
    try:
        text_in_json(lark)
    except NotQuotable:
        return


@pytest.mark.parametrize("unit", ['"', "/", "[", "(", "\\", "//", '"a"..', "%import common ("])
def test_long_grammars_take_linear_time(unit: str) -> None:
    try:
        text_in_json(unit * (65536 // len(unit)))
    except NotQuotable:
        return


def test_what_is_ignored_is_looked_up_once() -> None:
    """To look for its definition each time, in all of the grammar, would not end."""
    names = [f"W{n}" for n in range(10_000)]
    lark = "start: /a/\n" + "".join(f"{name}: /\\s/\n" for name in names)
    quoted = text_in_json(lark + "".join(f"%ignore {name}\n" for name in names * 4))
    plain_and_escapes = 1 + len("\t\n\r\f\v")
    assert quoted.count("%ignore") == len(names) * plain_and_escapes
