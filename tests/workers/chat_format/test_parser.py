"""Calls, text and thoughts told apart, however the text is cut."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.family_answers import (
    ALONE,
    ONE_CALL,
    PARIS,
    SUM,
    TWO_CALLS,
    text,
    text_and_call,
    use,
)
from tests.support.grammar_matcher import Bound
from tests.support.tool_templates import TEMPLATES
from tests.workers.chat_format.test_json_value import cut as cut_somewhere
from workers.chat_format import OutputParser, ParsedOutput, detect
from workers.output.constraint import answer
from workers.output.detokenizer import open_tail
from workers.protocol import CallDelta, ToolUse

Calls = list[tuple[str, str]]
Parts = tuple[str, str, Calls]
"""Reasoning, content, and calls: name and arguments."""


def heard(
    family: str,
    pieces: list[str],
    *,
    use_: ToolUse | None = None,
    thinking: bool = False,
    cut: bool = False,
) -> Parts:
    parser = OutputParser(detect(TEMPLATES[family]), use=use_, thinking=thinking)
    reasoning, content, calls = "", "", Made()
    for spoken in [*map(parser.push, pieces), parser.finish(cut=cut)]:
        reasoning += spoken.reasoning
        content += spoken.content
        calls.take(spoken.calls)
    assert parser.called == bool(calls.calls)
    return reasoning, content, calls.calls


class Made:
    def __init__(self) -> None:
        self.calls: Calls = []

    def take(self, deltas: list[CallDelta]) -> None:
        for delta in deltas:
            if delta.name is not None:
                assert delta.index == len(self.calls), "a name comes once, and first"
                self.calls.append((delta.name, ""))
            assert delta.index == len(self.calls) - 1
            name, arguments = self.calls[-1]
            self.calls[-1] = name, arguments + delta.arguments


@pytest.mark.parametrize("family", TEMPLATES)
def test_calls(family: str) -> None:
    for pieces in ([ONE_CALL[family]], [*ONE_CALL[family]]):
        assert heard(family, pieces, use_=use()) == ("", "", [("weather", PARIS)])
    if family in TWO_CALLS:
        for pieces in ([TWO_CALLS[family]], [*TWO_CALLS[family], "\n", " "]):
            expected = [("weather", PARIS), ("add", SUM)]
            assert heard(family, pieces, use_=use()) == ("", "", expected)


@pytest.mark.parametrize("family", TEMPLATES)
@pytest.mark.parametrize("said", ["", "hello ", " <b>\n[TOOL_CALLS", "}\n</tool_call>", ">>> 1\n"])
def test_text(family: str, said: str) -> None:
    for use_ in (use(), use(names=[]), None):
        for pieces in ([text(family, said)], [*text(family, said)]):
            assert heard(family, pieces, use_=use_) == ("", said, [])


@pytest.mark.parametrize("family", sorted({*TEMPLATES} - ALONE))
def test_text_costs_the_same_for_any_number_of_functions(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agents bring dozens, and every piece of an answer is searched for the beginning of a call."""
    searched: list[int] = []

    def counted(text: str, marks: Sequence[str]) -> int:
        searched.append(len(marks))
        return open_tail(text, marks)

    for module in ("parser", "thoughts"):
        monkeypatch.setattr(f"workers.chat_format.{module}.open_tail", counted)
    names = [f"function_{n}" for n in range(1000)]
    said = "hello <b> {[(" * 20
    for thinking in (True, False):
        heard(family, [*text(family, said)], use_=use(names=names), thinking=thinking)
    assert len(searched) > len(said)
    assert max(searched) <= 2


@pytest.mark.parametrize("family", sorted({*TEMPLATES} - ALONE))
def test_text_and_then_a_call(family: str) -> None:
    for space in ("", "\n", " \n\n"):
        whole = text_and_call(family, "Let's see." + space)
        for pieces in ([whole], [*whole], [*(whole + "\n")]):
            expected = ("", "Let's see.", [("weather", PARIS)])
            assert heard(family, pieces, use_=use()) == expected


@pytest.mark.parametrize("family", TEMPLATES)
def test_what_must_not_be_called_is_text(family: str) -> None:
    call = ONE_CALL[family].replace("weather", "weather_now")
    assert heard(family, [*call], use_=use()) == ("", call, [])
    if family != "harmony":
        assert heard(family, [*ONE_CALL[family]]) == ("", ONE_CALL[family], [])


@pytest.mark.parametrize("family", TEMPLATES)
def test_an_answer_that_ends_early(family: str) -> None:
    """A call that got to its name keeps what it had; before that it was text."""
    whole = ONE_CALL[family]
    start = whole.index(PARIS)
    for size in range(len(whole) + 1):
        had = whole[start:size] if size < start + len(PARIS) else PARIS
        expected = ("", whole[:size], []) if size < start else ("", "", [("weather", had)])
        assert heard(family, [*whole[:size]], use_=use()) == expected


@pytest.mark.parametrize("family", TEMPLATES)
def test_an_answer_that_is_cut(family: str) -> None:
    """No markup is left in the content, neither of a first call nor of a second one."""
    whole = ONE_CALL[family]
    start = whole.index(PARIS)
    for size in range(2, start):
        reasoning, content, calls = heard(family, [*whole[:size]], use_=use(), cut=True)
        assert (reasoning, content.strip(), calls) == ("", "", [])
    second = TWO_CALLS.get(family, whole)
    for size in range(len(whole), second.rindex(SUM) if family in TWO_CALLS else len(whole)):
        content, calls = heard(family, [*second[:size]], use_=use(), cut=True)[1:]
        assert (content, calls[0]) == ("", ("weather", PARIS))


@pytest.mark.parametrize("family", sorted({*TEMPLATES} - ALONE))
def test_a_text_that_is_cut_in_a_call(family: str) -> None:
    whole = text_and_call(family, "Let's see.\n")
    for size in range(whole.index("see.") + 7, whole.index(PARIS)):
        content, calls = heard(family, [*whole[:size]], use_=use(), cut=True)[1:]
        assert calls == []
        assert content.rstrip() == "Let's see."


def test_a_call_in_a_thought_that_is_open() -> None:
    """It is a call. Its mark alone is a part of the thought."""
    said = f"Do I want a <tool_call>?\nYes.\n{ONE_CALL['qwen']}"
    for pieces in ([said], [*said]):
        expected = ("Do I want a <tool_call>?\nYes.", "", [("weather", PARIS)])
        assert heard("qwen", pieces, use_=use(), thinking=True) == expected
    assert heard("qwen", [*said], thinking=True) == (said, "", [])


ODD_NAMES = ["a/b", "files:read", "n" * 80, 'a "quoted" one', "with space", "naïve.☃", "a\\b"]


@pytest.mark.parametrize("family", TEMPLATES)
@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(family: str, name: str) -> None:
    """A format carries every printable name, as JSON writes it, and the parser gives it back."""
    chat_format = detect(TEMPLATES[family])
    tool = {"type": "function", "function": {"name": name}}
    odd = ToolUse([tool], [name], required=True, parallel=False)
    written = chat_format.calls.layout.written([(name, "{}")])
    assert heard(family, [*written], use_=odd) == ("", "", [(name, "{}")])
    vocabulary = Bound.over(())
    grammar = answer(None, calls=chat_format.calls.grammar(odd, "content", vocabulary.special))
    assert vocabulary.judge(grammar, written) == "whole"


def test_arguments_are_not_waited_for() -> None:
    parser = OutputParser(detect(None), use=use(), thinking=False)
    assert parser.push('<tool_call>\n{"name": "weather", "arguments"') == ParsedOutput("", "", [])
    assert not parser.called
    assert parser.push(": ").calls == [CallDelta(0, "weather", "")]
    assert parser.called
    assert parser.push('{"ci').calls == [CallDelta(0, None, '{"ci')]
    assert parser.push('ty": "x"}}\n</to').calls == [CallDelta(0, None, 'ty": "x"}')]
    assert parser.push('ol_call>\n<tool_call>\n{"name": "add", "arguments": {').calls == [
        CallDelta(1, "add", "{")
    ]


def test_text_is_held_back_only_while_it_may_become_a_call() -> None:
    parser = OutputParser(detect(None), use=use(), thinking=False)
    assert parser.push("a <tool").content == "a"
    assert parser.push("_box>").content == " <tool_box>"
    assert parser.push(" <").content == ""
    assert parser.push("b").content == " <b"


def test_without_tools_nothing_is_held_back() -> None:
    parser = OutputParser(detect(None), use=None, thinking=False)
    assert parser.push("a\n").content == "a\n"
    assert parser.push("<tool_call>").content == "<tool_call>"


def test_text_between_and_behind_calls_is_content() -> None:
    """No grammar of ours allows it, but nothing is lost."""
    call = ONE_CALL["qwen"]
    assert heard("qwen", [call + "\nand\n" + call + " so"], use_=use()) == (
        "",
        "andso",
        [("weather", PARIS)] * 2,
    )
    assert heard("mistral", [ONE_CALL["mistral"] + "so"], use_=use())[1] == "so"


PIECES = st.sampled_from(
    ["<tool_call>", "\n", " ", '{"name": "', "weather", "add", '", "arguments": ', PARIS, SUM, "}",
     "</tool_call>", "<think>", "</think>", "x", "<", '"', "\\", "[TOOL_CALLS]", "[", ", ", "]",
     "[ARGS]", ">>>", "all\n", '", "parameters": ', "<|python_tag|>", ONE_CALL["qwen"],
     ONE_CALL["functionary"], ONE_CALL["mistral"], ONE_CALL["deepseek"], ONE_CALL["harmony"],
     "<|channel|>", "analysis", "final", "<|message|>", "<|end|>"]
)  # fmt: skip


@pytest.mark.parametrize("family", TEMPLATES)
@settings(max_examples=25, deadline=None)
@given(words=st.lists(PIECES), cuts=st.lists(st.integers(0)), thinking=st.booleans())
def test_cuts_change_nothing(
    family: str, words: list[str], cuts: list[int], thinking: bool
) -> None:
    whole = "".join(words)
    expected = heard(family, [whole], use_=use(), thinking=thinking)
    assert heard(family, cut_somewhere(whole, cuts), use_=use(), thinking=thinking) == expected
    assert heard(family, [*whole], use_=use(), thinking=thinking) == expected


@settings(max_examples=50, deadline=None)
@given(words=st.lists(PIECES), cuts=st.lists(st.integers(0)))
def test_nothing_is_lost_or_repeated(words: list[str], cuts: list[int]) -> None:
    """Without calls all of the text comes out again; what goes is tags and the space around."""
    whole = "".join(words)
    reasoning, content, _ = heard("qwen", cut_somewhere(whole, cuts))
    bare = whole.strip()
    if bare.startswith("<think>"):
        thought, closed, answer = bare.removeprefix("<think>").partition("</think>")
        assert reasoning.strip() == thought.strip()
        assert content.strip() == answer.strip()
        assert closed or not content
    else:
        assert (reasoning, content) == ("", whole)
