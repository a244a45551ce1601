"""Grammars are compiled once for each scope, and so many are kept."""

import json
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from tests.support.grammar_matcher import Bound
from workers.output import constraint
from workers.output.constraint import KEPT, Compiler, answer
from workers.protocol import JsonSchema


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every grammar that llguidance compiles."""
    grammars: list[str] = []

    def spy(tokenizer: LLTokenizer, grammar: str, **options: Any) -> LLMatcher:
        grammars.append(grammar)
        return LLMatcher(tokenizer, grammar, **options)

    monkeypatch.setattr(constraint, "LLMatcher", spy)
    return grammars


def grammar(value: int) -> str:
    return answer(JsonSchema({"const": value}))


def test_a_scope_spares_none_to_another(compiled: list[str]) -> None:
    """Or the time to the first token would tell which tools another key's requests have."""
    compiler = Compiler(Bound.over(()).tokenizer)
    for scope in ("", "mine", "yours", "mine", "", "yours"):
        assert any(compiler.compile(grammar(1), scope, probe=False).allowed())
    assert compiled == [grammar(1)] * 3


def test_the_least_recently_used_go_first(compiled: list[str]) -> None:
    compiler = Compiler(Bound.over(()).tokenizer)
    for value in (*range(KEPT), 0, KEPT):
        compiler.compile(grammar(value), "mine", probe=False)
    assert len(compiled) == KEPT + 1
    compiler.compile(grammar(0), "mine", probe=False)
    assert len(compiled) == KEPT + 1, "used again"
    compiler.compile(grammar(1), "mine", probe=False)
    assert json.loads(compiled[-1]) == json.loads(grammar(1)), "not used for longest"
