"""System messages and earlier thoughts, in the shapes that templates take."""

import json
from typing import Any

import pytest

from tests.workers.chat_format.test_history import FIRST, SUNNY, USER, caller, rendered
from workers.chat_format import detect

SYSTEM: dict[str, Any] = {"role": "system", "content": "Be brief."}
SAID: dict[str, Any] = {"role": "assistant", "content": "Yes."}
BARE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
REFUSING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + BARE
)
ALTERNATING = "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('roles must alternate') }}{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}"


@pytest.mark.parametrize("source", [REFUSING, ALTERNATING])
def test_the_user_says_what_there_is_no_system_for(source: str) -> None:
    def written(*messages: dict[str, Any]) -> str:
        return rendered(source, *messages, tools=False)

    assert written(SYSTEM, USER) == "<user>Be brief.\n\nWeather?"
    assert written(SYSTEM, SYSTEM, USER) == "<user>Be brief.\n\nBe brief.\n\nWeather?"
    assert written(USER, SAID, SYSTEM, USER).endswith("<assistant>Yes.<user>Be brief.\n\nWeather?")
    assert written(USER, SYSTEM) == "<user>Weather?\n\nBe brief."
    assert written(SYSTEM) == "<user>Be brief."
    with_tools = rendered(source, SYSTEM, USER)
    assert with_tools.startswith("<user>Be brief.\n\nYou have these tools")
    assert with_tools.endswith(" in one answer.\n\nWeather?")


def test_who_has_a_system_hears_it() -> None:
    assert rendered(BARE, SYSTEM, USER, tools=False) == "<system>Be brief.<user>Weather?"


def thinker(*calls: dict[str, Any], content: str = "") -> dict[str, Any]:
    turn = caller(*calls, content=content) if calls else {**SAID, "content": content}
    return {**turn, "reasoning_content": "Let me see."}


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_a_thought_by_any_name(name: str) -> None:
    source = "{% for m in messages %}{{ m." + name + " }}{{ m.content }}{% endfor %}"
    assert rendered(source, thinker(content="No."), tools=False) == "Let me see.No."
    assert rendered(source, SAID, tools=False) == "Yes."


def test_a_thought_as_a_part() -> None:
    """As Mistral's templates want them."""
    source = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}\
{% for part in m.content %}{% if part['type'] == 'thinking' %}[{{ part['thinking'] }}]\
{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{% endfor %}"
    assert rendered(source, USER, thinker(content="No.")).endswith("Weather?[Let me see.]No.")
    assert rendered(source, USER, thinker(), SAID, tools=False) == "Weather?[Let me see.]Yes."
    prose = "{# #}{{ 'Show your reasoning.' }}"
    assert rendered(prose + source, thinker(), tools=False) == "Show your reasoning.[Let me see.]"
    by_name = "{% set x = messages[0].reasoning_content %}{{ x }}"
    assert rendered(by_name + source, thinker(content="No."), tools=False) == "Let me see.No."


def test_one_thought_for_several_calls() -> None:
    """gpt-oss takes a call in a turn, and a thought or a text before it."""
    template = (
        "{# <|channel|> #}{% set x = '<|channel|>analysis' %}{% for m in messages %}"
        "{% if m.content and m.thinking %}{{ raise_exception('both') }}{% endif %}"
        "{{ m.thinking }}|{{ m.content }}|{{ m.tool_calls | length }};{% endfor %}"
        "{{ tools }}{{ 'tool' }}"
    )
    calls = detect(template).calls
    assert calls.name == "harmony"
    twice = [FIRST, {**FIRST, "id": "2"}]
    messages = [thinker(*twice), SUNNY, thinker(*twice, content="Well.")]
    before = json.dumps(messages)
    text = rendered(template, *messages, tools=False)
    assert text.startswith("Let me see.||1;|sunny|0;||1;|Well.|1;||1;")
    assert json.dumps(messages) == before
