"""Conversations as the families' published formats write them, through templates in their manner.

`tests/templates` has a template of our own for each family, written with what real ones use, and
beside it the expected texts, made by hand from the description that is named there; what a family
says in sentences is left out or ours. Below a line `=== NAME` is the text of that conversation, to
the last line feed but one; the name may be followed by arguments of the template. `# bos` and
`# eos` name tokens.
"""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from workers.chat_format import detect, starts_thinking
from workers.protocol import ToolUse
from workers.template.chat_template import ChatTemplate

FOLDER = Path(__file__).parents[2] / "templates"
NOW = datetime(2031, 2, 3, 4, 5).timestamp()


def tool(name: str, description: str, **properties: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": [*properties],
    }
    function = {"name": name, "description": description, "parameters": schema}
    return {"type": "function", "function": function}


def said(role: str, content: str | None, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def call(id_: str, city: str) -> dict[str, Any]:
    arguments = json.dumps({"city": city}, ensure_ascii=False)
    return {
        "id": id_,
        "type": "function",
        "function": {"name": "get_weather", "arguments": arguments},
    }


def result(id_: str, celsius: int) -> dict[str, Any]:
    return said("tool", json.dumps({"celsius": celsius}), tool_call_id=id_)


TOOLS = [tool("get_weather", "Weather < now & ü", city="string")]
SYSTEM = said("system", "Be brief.")
QUESTION = said("user", "  What is 2 + 2?")
SUM, NEXT = said("user", "What is 2 + 2?"), said("user", "And 3 + 3?")
WARM = said("user", "Is it warm in Zürich?")
CALLED = said("assistant", None, tool_calls=[call("AbCdEf123", "Zürich")])
CONVERSATIONS = {
    "plain": [QUESTION],
    "system": [SYSTEM, QUESTION],
    "turns": [SYSTEM, QUESTION, said("assistant", '4 < 5 & "ü"'), NEXT],
    "thought": [SUM, said("assistant", "4.", reasoning_content="Two and two."), NEXT],
    "thought_in_text": [SUM, said("assistant", "<think>\nTwo and two.\n</think>\n\n4."), NEXT],
    "called": [WARM, CALLED, result("AbCdEf123", 20)],
    "thought_and_called": [
        WARM, {**CALLED, "reasoning_content": "I have to look."}, result("AbCdEf123", 20)
    ],
    "called_twice": [
        SYSTEM,
        said("user", "Warmer in Zürich or in Rome?"),
        said("assistant", "Both.", tool_calls=[call("1", "Zürich"), call("2", "Rome")]),
        result("1", 20),
        result("2", 30),
    ],
    "two_systems": [SYSTEM, said("developer", "Be kind."), SUM],
    "later_system": [SYSTEM, SUM, said("assistant", "4."), said("system", "Be kind."), NEXT],
    "system_at_the_end": [SUM, said("assistant", "4."), said("system", "Be kind.")],
    "system_alone": [SYSTEM],
    "asked_twice": [SUM, NEXT],
    "assistant_first": [said("assistant", "Hello."), SUM],
    "asked_after_a_result": [WARM, CALLED, result("AbCdEf123", 20), SUM],
}  # fmt: skip


class Case(NamedTuple):
    family: str
    name: str
    arguments: dict[str, Any]
    tokens: dict[str, str]
    text: str


def cases(path: Path) -> list[Case]:
    head, *pieces = re.split(r"^=== (.*)\n", path.read_text("utf-8"), flags=re.MULTILINE)
    tokens = dict(re.findall(r"^# (bos|eos) (.*)$", head, re.MULTILINE))
    found = []
    for title, body in zip(pieces[::2], pieces[1::2], strict=True):
        name, *given = title.split()
        arguments = {key: json.loads(value) for key, value in (one.split("=") for one in given)}
        found.append(Case(path.stem, name, arguments, tokens, body.removesuffix("\n")))
    return found


CASES = [case for path in sorted(FOLDER.glob("*.txt")) for case in cases(path)]


def source(family: str) -> str:
    return (FOLDER / f"{family}.jinja").read_text("utf-8")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.family}-{case.name}")
def test_text(case: Case) -> None:
    messages = CONVERSATIONS[case.name]
    use = ToolUse(TOOLS, ["get_weather"], required=False, parallel=True)
    calls = detect(source(case.family)).calls
    template = ChatTemplate(
        source(case.family), bos=case.tokens.get("bos", ""), eos=case.tokens.get("eos", "")
    )
    rules = calls.learn(lambda asked: template.probe(asked, NOW))
    adapted, tools = calls.adapt(messages, use if "called" in case.name else None, rules)
    assert template.render(adapted, NOW, tools, case.arguments) == case.text


def test_nothing_is_left_out() -> None:
    templates = {path.stem for path in FOLDER.glob("*.jinja")}
    assert templates == {case.family for case in CASES}
    assert {case.name for case in CASES} == CONVERSATIONS.keys()
    for path in FOLDER.glob("*.txt"):
        assert re.search(r"^# Source: .", path.read_text("utf-8"), re.MULTILINE), path.name


CALLS = {
    "llama-3.1": "llama3",
    "qwen-2.5": "hermes",
    "qwen-3": "hermes",
    "mistral-v3": "mistral",
    "mistral-v3-tekken": "mistral",
    "deepseek-v3": "deepseek",
    "gpt-oss": "harmony",
    "firefunction-v2": "firefunction",
}
THOUGHTS = {
    "qwen-3": "<think>",
    "deepseek-r1": "<think>",
    "think": "<think>",
    "gemma-4": "<|channel>thought\n",
    "gpt-oss": "<|channel|>analysis<|message|>",
}


@pytest.mark.parametrize("family", sorted({case.family for case in CASES}))
def test_habits_are_recognised(family: str) -> None:
    chat_format = detect(source(family))
    assert chat_format.calls.name == CALLS.get(family, "generic")
    assert (chat_format.thoughts.opening if chat_format.thoughts else None) == THOUGHTS.get(family)
    thinking = {starts_thinking(chat_format, case.text) for case in CASES if case.family == family}
    assert thinking == {family in ("deepseek-r1", "think")}
