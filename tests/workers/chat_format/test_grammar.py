"""Answers of a model bound to a family's grammar, by llguidance's own judgement."""

from random import Random
from typing import Any

import pytest

from tests.support.family_answers import (
    ALONE,
    ANNOUNCED,
    ONE_CALL,
    PARIS,
    TWO_CALLS,
    text,
    text_and_call,
    use,
)
from tests.support.grammar_matcher import Bound
from tests.support.tool_templates import TEMPLATES
from workers.chat_format import ChatFormat, detect
from workers.forge_tiny.corpus import structured
from workers.forge_tiny.corpus.message import CorpusConversation
from workers.forge_tiny.rendering import render
from workers.json_schema import Unenforceable
from workers.output.constraint import answer
from workers.protocol import JsonSchema, ToolUse

JSON = JsonSchema({"type": "object", "properties": {"x": {"type": "integer"}}})
ODD = {"type": "string", "format": "odd"}
"""An unknown format is an annotation."""


@pytest.fixture(params=["tokens", "plain"])
def tokens(request: pytest.FixtureRequest) -> bool:
    """True if the family's marks are control tokens of the vocabulary, else plain text."""
    return bool(request.param == "tokens")


def bound(family: str, tokens: bool) -> tuple[ChatFormat, Bound]:
    chat_format = detect(TEMPLATES[family])
    return chat_format, Bound.over(chat_format.preserved if tokens else ())


def rules(
    chat_format: ChatFormat, vocabulary: Bound, use: ToolUse, content: JsonSchema | None = None
) -> str:
    """The grammar of the whole answer, as a worker puts it together."""
    calls = chat_format.calls.grammar(use, "content", vocabulary.special, free=content is None)
    return answer(content, calls=calls)


@pytest.mark.parametrize("family", TEMPLATES)
def test_calls(family: str, tokens: bool) -> None:
    chat_format, vocabulary = bound(family, tokens)
    for required in (True, False):
        grammar = rules(chat_format, vocabulary, use(required=required))
        assert vocabulary.judge(grammar, ONE_CALL[family]) == "whole"
        if family in TWO_CALLS:
            assert vocabulary.judge(grammar, TWO_CALLS[family]) == "whole"


@pytest.mark.parametrize("family", TEMPLATES)
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("weather", "weather_now"),
        ("weather", "nothing"),
        ('{"city": ', '{"town": '),
        ('{"city": ', '{"city":'),
        (PARIS, "{}"),
        (PARIS, '{"city": 1}'),
        (PARIS, '{"city": "x", "more": 1}'),
        (PARIS, "null"),
    ],
)
def test_what_is_no_valid_call(family: str, right: str, wrong: str, tokens: bool) -> None:
    chat_format, vocabulary = bound(family, tokens)
    bad = ONE_CALL[family].replace(right, wrong)
    assert bad != ONE_CALL[family]
    assert vocabulary.judge(rules(chat_format, vocabulary, use(required=True)), bad).startswith(
        "ref"
    )
    assert vocabulary.judge(rules(chat_format, vocabulary, use()), bad).startswith("ref")


@pytest.mark.parametrize("family", TEMPLATES)
def test_text(family: str, tokens: bool) -> None:
    chat_format, vocabulary = bound(family, tokens)
    free = rules(chat_format, vocabulary, use())
    for content in ("", "hello", "<too", '{"n', "a\n\n>>> 1 + 1\n[TOOL", "ü\U0001f600"):
        assert vocabulary.judge(free, text(family, content)) == "whole"
        refused = vocabulary.judge(rules(chat_format, vocabulary, use(required=True)), content)
        assert refused != "whole"
    if family in ANNOUNCED:
        assert vocabulary.judge(free, "hello").startswith("ref")


@pytest.mark.parametrize("family", sorted({*TEMPLATES} - ALONE))
def test_text_and_then_a_call(family: str, tokens: bool) -> None:
    chat_format, vocabulary = bound(family, tokens)
    grammar = rules(chat_format, vocabulary, use())
    assert vocabulary.judge(grammar, text_and_call(family, "Let's see.\n")) == "whole"
    bad = text_and_call(family, "Let's see.\n").replace("city", "town")
    assert vocabulary.judge(grammar, bad).startswith("ref")
    behind = text_and_call(family, "Let's see.\n") + "x"
    assert vocabulary.judge(grammar, behind).startswith("ref")


@pytest.mark.parametrize("family", TWO_CALLS)
def test_one_call_alone(family: str, tokens: bool) -> None:
    chat_format, vocabulary = bound(family, tokens)
    for required in (True, False):
        grammar = rules(chat_format, vocabulary, use(required=required, parallel=False))
        assert vocabulary.judge(grammar, ONE_CALL[family]) == "whole"
        assert vocabulary.judge(grammar, TWO_CALLS[family]).startswith("ref")


@pytest.mark.parametrize("family", TEMPLATES)
def test_either_json_or_calls(family: str, tokens: bool) -> None:
    """With a response format there is no text before a call."""
    chat_format, vocabulary = bound(family, tokens)
    grammar = rules(chat_format, vocabulary, use(), JSON)
    assert vocabulary.judge(grammar, text(family, '{"x": 1}')) == "whole"
    assert vocabulary.judge(grammar, text(family, '{"x": "1"}')).startswith("ref")
    assert vocabulary.judge(grammar, text(family, "hello")).startswith("ref")
    call = ONE_CALL[family]
    if family == "llama":  # a bare object would be taken for the content
        call = "<|python_tag|>" + call
    assert vocabulary.judge(grammar, call) == "whole"
    assert vocabulary.judge(grammar, call.replace("city", "town")).startswith("ref")


def test_the_space_that_mistrals_first_template_writes() -> None:
    chat_format = detect(TEMPLATES["mistral"].replace("[TOOL_CALLS][", "[TOOL_CALLS] ["))
    vocabulary = Bound.over(chat_format.preserved)
    grammar = rules(chat_format, vocabulary, use(required=True))
    assert vocabulary.judge(grammar, ONE_CALL["mistral"].replace("][", "] [")) == "whole"
    assert vocabulary.judge(grammar, ONE_CALL["mistral"]).startswith("ref")


def test_llamas_tag_keeps_calls_from_json() -> None:
    chat_format, vocabulary = bound("llama", True)
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    grammar = rules(chat_format, vocabulary, use(), JsonSchema(schema))
    assert vocabulary.judge(grammar, '{"name": "weather"}') == "whole"
    free = rules(chat_format, vocabulary, use())
    assert vocabulary.judge(free, "<|python_tag|>" + ONE_CALL["llama"]) == "whole"
    assert vocabulary.judge(free, "<|python_tag|>hello").startswith("ref")


@pytest.mark.parametrize("family", TEMPLATES)
def test_nothing_to_call(family: str, tokens: bool) -> None:
    chat_format, vocabulary = bound(family, tokens)
    assert (
        vocabulary.judge(rules(chat_format, vocabulary, use(names=[])), text(family, "a"))
        == "whole"
    )


def test_a_named_function() -> None:
    chat_format, vocabulary = bound("forge-tiny", False)
    grammar = rules(chat_format, vocabulary, use(required=True, names=["add"], parallel=False))
    sum_ = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
    assert vocabulary.judge(grammar, sum_) == "whole"
    assert vocabulary.judge(grammar, ONE_CALL["forge-tiny"]).startswith("ref")


@pytest.mark.parametrize(("declared", "ask"), structured.TOOLS)
def test_as_the_embedded_model_was_trained(declared: dict[str, Any], ask: structured.Asker) -> None:
    _, arguments, _, _ = ask(Random(1))
    name = declared["function"]["name"]
    turn = structured.tool_call(name, arguments)
    written = (
        render(CorpusConversation([turn], [])).split("assistant\n", 1)[1].split("<|im_end|>")[0]
    )
    chat_format, vocabulary = bound("forge-tiny", False)
    for required in (True, False):
        grammar = rules(chat_format, vocabulary, ToolUse([declared], [name], required, True))
        assert vocabulary.judge(grammar, written) == "whole"


@pytest.mark.parametrize(
    ("parameters", "good", "bad"),
    [
        (None, "{}", '{"a": 1}'),
        ({}, '{"a": [1, {"b": null}]}', "1"),
        ({"$ref": "#/$defs/p", "$defs": {"p": {"type": "object"}}}, "{}", "1"),
        (
            {"properties": {"x": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"enum": [1]}}},
            '{"x": 1}',
            '{"x": 2}',
        ),
        (
            {"properties": {"é\n": {"const": "</tool_call>"}}},
            '{"é\\n": "</tool_call>"}',
            '{"é\\n": 1}',
        ),
        ({"properties": {"x": ODD}}, '{"x": "y"}', "1"),
        ({"x-guidance": {"item_separator": ";"}}, '{"a": 1, "b": 2}', '{"a": 1;"b": 2}'),
    ],
)
def test_schemas_of_arguments(parameters: dict[str, object] | None, good: str, bad: str) -> None:
    chat_format, vocabulary = bound("forge-tiny", False)
    function = {"name": "f"} if parameters is None else {"name": "f", "parameters": parameters}
    tools = [{"type": "function", "function": function}]
    grammar = rules(chat_format, vocabulary, ToolUse(tools, ["f"], True, False))
    call = '<tool_call>\n{"name": "f", "arguments": %s}\n</tool_call>'
    assert vocabulary.judge(grammar, call % good) == "whole"
    assert vocabulary.judge(grammar, call % bad).startswith("ref")


def test_strict_functions_are_taken_at_their_word() -> None:
    """A schema that can't be enforced is an error then."""
    chat_format, vocabulary = bound("forge-tiny", False)
    parameters = {"properties": {"x": {"not": ODD}}}
    function = {"name": "f", "strict": True, "parameters": parameters}
    tools = [{"type": "function", "function": function}]
    with pytest.raises(Unenforceable, match="not supported") as refused:
        rules(chat_format, vocabulary, ToolUse(tools, ["f"], True, False))
    assert refused.value.path == "tools.0.function.parameters.properties.x.not"


@pytest.mark.parametrize("tags", ["tokens", "plain"])
@pytest.mark.parametrize("content", [None, JSON], ids=["text", "json"])
def test_thought_and_answer(tags: str, content: JsonSchema | None) -> None:
    chat_format, vocabulary = bound("qwen", tags == "tokens")
    assert chat_format.thoughts is not None
    calls = chat_format.calls.grammar(use(), "content", vocabulary.special, free=content is None)
    said = "hello" if content is None else '{"x": 1}'
    for thinking, opening in ((True, ""), (False, "<think>"), (False, None)):
        thought = chat_format.thoughts.grammar(vocabulary.special, thinking=thinking)
        grammar = answer(content, calls=calls, thought=thought)
        before = "" if opening is None else opening + "\nI <tool_call> or not?\n</think>\n\n"
        if opening is not None and tags == "tokens":
            before = before.replace("<tool_call>", "call")
        assert vocabulary.judge(grammar, before + said) == "whole"
        assert vocabulary.judge(grammar, before + ONE_CALL["qwen"]) == "whole"
        bad = ONE_CALL["qwen"].replace("city", "town")
        assert vocabulary.judge(grammar, before + bad).startswith("ref")


def test_a_tag_that_is_a_token_and_text(tokens: bool) -> None:
    """As Gemma 4's."""
    chat_format = detect("{{ '<|channel>thought\\n<channel|>' }}")
    vocabulary = Bound.over(chat_format.preserved if tokens else ())
    assert chat_format.thoughts is not None
    thought = chat_format.thoughts.grammar(vocabulary.special, thinking=False)
    calls = chat_format.calls.grammar(use(names=[]), "content", vocabulary.special, free=False)
    grammar = answer(JSON, calls=calls, thought=thought)
    assert vocabulary.judge(grammar, '<|channel>thought\nI {see}.\n<channel|>{"x": 1}') == "whole"
    assert vocabulary.judge(grammar, '{"x": 1}') == "whole"
    assert vocabulary.judge(grammar, '<|channel>other\nI {see}.\n<channel|>{"x": 1}').startswith(
        "ref"
    )


@pytest.mark.parametrize("closing", ["tokens", "text"])
@pytest.mark.parametrize("call", ["tokens", "text"])
def test_a_call_in_a_thought_that_is_open(closing: str, call: str) -> None:
    """It ends thought and answer, also where one of the two tags alone is a control token."""
    chat_format = detect(TEMPLATES["qwen"])
    assert chat_format.thoughts is not None
    marks = {"<think>", "</think>"} if closing == "tokens" else set()
    marks |= {"<tool_call>", "</tool_call>"} if call == "tokens" else set()
    vocabulary = Bound.over(tuple(each for each in chat_format.preserved if each in marks))
    calls = chat_format.calls.grammar(use(), "content", vocabulary.special, free=True)
    for thinking, before in ((True, ""), (False, "<think>\n")):
        thought = chat_format.thoughts.grammar(vocabulary.special, thinking=thinking, calls=True)
        grammar = answer(None, calls=calls, thought=thought)
        said = before + "I need the weather.\n" + ONE_CALL["qwen"]
        assert vocabulary.judge(grammar, said) == "whole"
        assert vocabulary.judge(grammar, said.replace("city", "town")).startswith("ref")
        closed = before + "I need the weather.\n</think>\n\n" + ONE_CALL["qwen"]
        assert vocabulary.judge(grammar, closed) == "whole"
        assert vocabulary.judge(grammar, before + "Yes.\n</think>\n\nhello") == "whole"
