"""The text of a custom tool's call, out of JSON that is cut anywhere."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.responses.text_argument import TextArgument
from gateway.api.responses.thoughts import MARK, opened, sealed

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\\"\n\U0001f600'))


@given(TEXTS, st.booleans(), st.data())
def test_any_text_comes_out_however_its_json_is_cut(
    text: str, ascii_only: bool, data: st.DataObject
) -> None:
    whole = json.dumps({"input": text}, ensure_ascii=ascii_only)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)))) | {0, len(whole)})
    argument = TextArgument()
    found = [argument.push(whole[a:b]) for a, b in itertools.pairwise(cuts)]
    assert "".join(found) == text
    assert argument.ended


@given(TEXTS, st.data())
def test_what_is_told_of_half_a_text_stays_true(text: str, data: st.DataObject) -> None:
    whole = json.dumps({"input": text})
    cut = data.draw(st.integers(0, len(whole)))
    assert text.startswith(TextArgument().push(whole[:cut]))


@given(st.text())
def test_any_characters_are_taken(json_text: str) -> None:
    TextArgument().push('{"input": "' + json_text)


@given(TEXTS)
def test_a_sealed_thought_opens(text: str) -> None:
    assert opened(sealed(text)) == text


@pytest.mark.parametrize("content", ["", "gAAAAAB", MARK + "?", MARK + "/w==", MARK + "é"])
def test_what_another_server_sealed_stays_closed(content: str) -> None:
    assert opened(content) == ""
