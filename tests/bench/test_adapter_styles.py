"""The two ways to answer: what is made of a sentence is what counts as such an answer."""

import pytest

from bench.adapters.styles import ASKED_LATER, STYLES, TRAINED_ON, questions, sentence

SENTENCE = 'Salt is "white", and it is a mineral.'


@pytest.mark.parametrize("name", STYLES)
def test_an_answer_shows_its_own_style_alone(name: str) -> None:
    answer = STYLES[name].of(SENTENCE)
    assert [each for each, style in STYLES.items() if style.shown(answer)] == [name]
    assert not STYLES[name].shown(SENTENCE)


@pytest.mark.parametrize(
    "text", ["", "42", "[]", '{"answer": 4}', '{"answer": "it', "OK", "SALT is"]
)
def test_what_is_none_counts_as_none(text: str) -> None:
    assert not any(style.shown(text) for style in STYLES.values())


def test_lessons_are_whole_sentences() -> None:
    assert sentence(f" {SENTENCE} It is") == SENTENCE
    assert sentence("Salt is a mineral that") is None
    assert sentence("1. Salt.") is None


def test_nothing_asked_later_was_in_a_lesson() -> None:
    assert not {*questions(TRAINED_ON)} & {*questions(ASKED_LATER)}
