"""Conversations to prompts, with templates in the test's own process."""

from typing import Any

import pytest

from tests.support.engine_driver import DirectSandbox
from tests.workers.template.test_turns import PUBLISHED, said
from workers.chat_format import detect
from workers.llama import Model
from workers.prompter import Prompter
from workers.protocol import BAD_PROMPT, Chat
from workers.refused import InputRefused

NOW = 1.9e9


def prompter(model: Model, source: str) -> Prompter:
    return Prompter(model, DirectSandbox(source, bos="<s>", eos="</s>"), detect(source))


class Counting(DirectSandbox):
    """A sandbox that counts what it renders."""

    rendered = 0

    def render(self, *args: Any, **more: Any) -> str:
        self.rendered += 1
        return super().render(*args, **more)


@pytest.mark.parametrize("family", PUBLISHED)
def test_one_rendering_is_enough(f16_model: Model, family: str) -> None:
    source = PUBLISHED[family]
    sandbox = Counting(source, bos="<s>", eos="</s>")
    made = Prompter(f16_model, sandbox, detect(source))
    sandbox.rendered = 0
    turns = [said("assistant", "Hello."), said("system", "Be kind."), said("user", "Hi.")]
    assert "Be kind." in made.write(Chat([*turns, *turns]), NOW)
    assert sandbox.rendered == 1


def test_a_missing_role_is_named_if_nothing_helps(f16_model: Model) -> None:
    source = (
        "{% for m in messages %}{{ m.content }}{% if m.role == 'user' and '?' in m.content %}"
        "{% set ns.asked = true %}{% endif %}{% endfor %}{{ raise_exception('Where is it?') }}"
    )
    with pytest.raises(InputRefused) as caught:
        prompter(f16_model, source).write(Chat([said("system", "Be kind.")]), NOW)
    assert caught.value.code == BAD_PROMPT
    assert str(caught.value).endswith("; no user message")


def test_what_the_probes_did_not_see_is_tried(f16_model: Model) -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'system' and 'kind' in m.content %}"
        "{{ raise_exception('not that') }}{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    chat = Chat([said("user", "Hi."), said("system", "Be kind.")])
    assert prompter(f16_model, source).write(chat, NOW) == "<user>Hi.\n\nBe kind."
    twice = Chat([said("user", "Hi."), said("user", "Be kind.")])
    made = prompter(f16_model, source.replace("m.role == 'system' and", ""))
    with pytest.raises(InputRefused, match=r"refused: not that$"):
        made.write(twice, NOW)
