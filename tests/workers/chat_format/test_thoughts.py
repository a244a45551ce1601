"""Thoughts: only those that the template's source mentions, and only at the beginning."""

from pathlib import Path

import pytest

from tests.support.family_answers import ONE_CALL, PARIS, use
from tests.support.tool_templates import TEMPLATES
from tests.workers.chat_format.test_parser import heard
from workers.chat_format import OutputParser, detect, starts_thinking
from workers.template.chat_template import ChatTemplate

TAGS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
    ("<|channel>thought\n", "<channel|>"),
]


def parts(template: str, answer: str, *, thinking: bool = False) -> tuple[str, str]:
    found = set()
    for pieces in ([answer], [*answer], [answer[:9], answer[9:]]):
        parser = OutputParser(detect(template), use=None, thinking=thinking)
        spoken = [*map(parser.push, pieces), parser.finish()]
        found.add(("".join(s.reasoning for s in spoken), "".join(s.content for s in spoken)))
    (same,) = found
    return same


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_tags(opening: str, closing: str) -> None:
    template = "{{ message.content.split('" + closing + "')[-1] }}"
    chat_format = detect(template)
    assert {opening.removesuffix("thought\n"), closing} <= {*chat_format.preserved}
    assert parts(template, f"{opening}\na <b>\n{closing}\n\nc\n") == ("a <b>", "c\n")
    assert parts(template, f"a\n{closing}\nb", thinking=True) == ("a", "b")
    assert detect("{{ message.content }}").thoughts is None
    for other, end in TAGS:
        if other != opening:
            assert parts(template, f"{other}a{end}b") == ("", f"{other}a{end}b")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("\n <think>a</think>b", ("a", "b")),
        ("<think>\n\n</think>\n\nb", ("", "b")),
        ("<think>a", ("a", "")),
        ("<think>a\n", ("a\n", "")),
        ("<think>a </th", ("a </th", "")),
        ("<think>a </thank></think>b", ("a </thank>", "b")),
        ("<think>a</think>\n", ("a", "")),
        ("<think>", ("", "")),
        ("<thi", ("", "<thi")),
        ("\n<thing>", ("", "\n<thing>")),
        ("a <think>b</think>", ("", "a <think>b</think>")),
        ("<think>a</think>b<think>c</think>", ("a", "b<think>c</think>")),
        ("</think>a", ("", "</think>a")),
        (" \n", ("", " \n")),
        ("", ("", "")),
    ],
)
def test_where_a_thought_is(answer: str, expected: tuple[str, str]) -> None:
    assert parts(TEMPLATES["qwen"], answer) == expected


def test_text_is_held_back_only_while_it_may_become_a_thought() -> None:
    parser = OutputParser(detect(TEMPLATES["qwen"]), use=None, thinking=False)
    assert parser.push(" <th").content == ""
    assert parser.push("e").content == " <the"
    assert parser.push(" <think>").content == " <think>"
    thinking = OutputParser(detect(TEMPLATES["qwen"]), use=None, thinking=True)
    assert thinking.push("\na </th").reasoning == "a"
    assert thinking.push("e").reasoning == " </the"


def test_thought_and_call() -> None:
    answer = "I could <tool_call>\n</think>\n\n" + ONE_CALL["qwen"]
    for pieces in ([answer], [*answer]):
        assert heard("qwen", pieces, use_=use(), thinking=True) == (
            "I could <tool_call>",
            "",
            [("weather", PARIS)],
        )


def test_a_thought_in_a_channel() -> None:
    thought = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant"
    said = thought + "<|channel|>final<|message|>yes"
    for pieces in ([said], [*said]):
        assert heard("harmony", pieces) == ("hm", "yes", [])
        assert heard("harmony", pieces, use_=use()) == ("hm", "yes", [])
    called = heard("harmony", [*thought, *ONE_CALL["harmony"]], use_=use())
    assert called == ("hm", "", [("weather", PARIS)])


@pytest.mark.parametrize(
    ("source", "end"),
    [
        (r"{{ '<think>\n' + t + '\n</think>\n\n' + c }}", "\n</think>\n\n"),
        (r"{{ '<think>\n\n</think>\n\n' }}{{ c.split('</think>') }}", "\n\n</think>\n\n"),
        (r"{{ '<think>' + t + '</think>' + c }}", "</think>"),
        (r"{{ c.split('</think>')[-1] }}{{ '<think>\n' }}", "\n</think>\n\n"),
        (r"{{ c.split('</think>')[-1] }}{{ '<think>' }}", "</think>"),
        (r"{{ '[THINK]' + t + '[/THINK]' + c }}", "[/THINK]"),
        ("{# <think>\\n #}<think>", "</think>"),
    ],
)
def test_the_end_of_a_thought_is_the_templates(source: str, end: str) -> None:
    thoughts = detect(source).thoughts
    assert thoughts is not None
    assert thoughts.end == end


def test_the_end_of_the_families_thoughts() -> None:
    folder = Path(__file__).parents[2] / "templates"
    thinkers = ("qwen-3", "deepseek-r1", "think", "gpt-oss", "gemma-4")
    found = {name: detect((folder / f"{name}.jinja").read_text("utf-8")) for name in thinkers}
    lines = "\n</think>\n\n"
    assert {name: each.thoughts and each.thoughts.end for name, each in found.items()} == {
        "qwen-3": lines,
        "deepseek-r1": lines,
        "think": lines,
        "gpt-oss": "<|end|>",
        "gemma-4": "\n<channel|>",
    }


def test_prompts_that_begin_a_thought() -> None:
    template = ChatTemplate(TEMPLATES["qwen"], bos="", eos="")
    chat_format = detect(TEMPLATES["qwen"])

    def prompt(content: str, **arguments: object) -> str:
        return template.render([{"role": "user", "content": content}], 0.0, None, arguments)

    assert starts_thinking(chat_format, prompt("a", enable_thinking=True))
    assert not starts_thinking(chat_format, prompt("a", enable_thinking=False))
    assert not starts_thinking(chat_format, prompt("what is <think>"))
    assert not starts_thinking(detect(None), "<think>\n")
