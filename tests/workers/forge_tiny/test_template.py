"""The chat template: every role, tools, and jinja2 environments other than the trainer's."""

from __future__ import annotations

import pytest
from jinja2.exceptions import TemplateError
from jinja2.sandbox import SandboxedEnvironment

from workers.forge_tiny.corpus import CorpusConversation
from workers.forge_tiny.corpus.structured import TOOLS, tool_call
from workers.forge_tiny.rendering import render, source

WEATHER = TOOLS[0][0]


def test_all_roles() -> None:
    """System, user, assistant, tool, and the opening for the answer."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather in Oslo?"},
        tool_call("get_weather", {"city": "Oslo"}),
        {"role": "tool", "content": "sunny"},
    ]
    assert render(CorpusConversation(messages), prompt=True) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nWeather in Oslo?<|im_end|>\n"
        "<|im_start|>assistant\n<tool_call>\n"
        '{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>tool\nsunny<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_no_system_message_is_invented() -> None:
    """A lone question renders to itself."""
    text = render(CorpusConversation([{"role": "user", "content": "hi"}]))
    assert text == "<|im_start|>user\nhi<|im_end|>\n"


@pytest.mark.parametrize("system", [None, "Be brief."])
def test_tools_are_declared_once(system: str | None) -> None:
    """Tools share the system turn, with or without a system message."""
    messages = [{"role": "system", "content": system}] if system else []
    text = render(CorpusConversation([*messages, {"role": "user", "content": "hi"}], [WEATHER]))
    assert text.count("<|im_start|>system\n") == 1
    assert text.count('"name": "get_weather"') == 1
    assert (system or "Tools:") in text


def test_arguments_may_be_a_string() -> None:
    """OpenAI clients send arguments as JSON text, and content as null."""
    call = tool_call("get_weather", {})
    call["content"] = None
    call["tool_calls"][0]["function"]["arguments"] = '{"city": "Oslo"}'
    text = render(CorpusConversation([{"role": "user", "content": "x"}, call]))
    assert '"arguments": {"city": "Oslo"}}' in text


def test_unknown_role_is_refused() -> None:
    """A role outside the four raises with its name."""
    with pytest.raises(TemplateError, match="not robot"):
        render(CorpusConversation([{"role": "robot", "content": "beep"}]))


@pytest.mark.parametrize("trim", [True, False])
def test_plain_environments_agree(trim: bool) -> None:
    """Whitespace control in the template does not depend on the environment's options."""
    environment = SandboxedEnvironment(trim_blocks=trim, lstrip_blocks=trim)
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "hi"}]
    text = environment.from_string(source()).render(messages=messages, add_generation_prompt=True)
    assert text == render(CorpusConversation(messages), prompt=True)
