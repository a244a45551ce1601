"""Answers that go on with the last message, on real llama.cpp and through all templates."""

import json
from typing import Any

import pytest

from tests.support.engine_driver import Driver, generate, with_params
from tests.workers.engine.test_engine_constraints import ASK, WEATHER, heard
from tests.workers.template.test_turns import CALLS, PUBLISHED, SOURCES, said
from tests.workers.test_prompter import prompter
from workers.chat_format import OutputParser, detect
from workers.llama import Model
from workers.llama.tokenizer import Part
from workers.prompter import WrittenPrompt
from workers.protocol import BAD_PROMPT, Chat, JsonSchema, ToolUse
from workers.refused import InputRefused
from workers.template.control_text import ControlText

NOW = 1.9e9
ASKED = [said("system", "Be brief."), said("user", "What is 2 + 2?")]
STORY = [said("user", "Tell me a short story.")]
TEXT = "  2 + 2 = "
HEADER = "<|im_start|>assistant\n"


def written(model: Model, source: str, *last: dict[str, Any], **more: Any) -> WrittenPrompt:
    return prompter(model, source).write(Chat([*ASKED, *last], **more), NOW)


def thought(text: str, content: str = "") -> dict[str, Any]:
    return said("assistant", content, reasoning_content=text)


OPENED = {"deepseek-r1", "think", "gemma-4", "deepseek", "deepseek-fenced"}
"""Their new turns begin with a thought, or an empty one; text comes after none."""


@pytest.mark.parametrize("family", SOURCES)
def test_the_turn_is_an_answers_and_the_text_is_the_clients(f16_model: Model, family: str) -> None:
    new = written(f16_model, SOURCES[family])
    prompt = written(f16_model, SOURCES[family], said("assistant", TEXT))
    assert prompt.text.endswith(TEXT)
    assert not prompt.thinking
    assert prompt.chat_format.plain, "no thought and no channel comes any more"
    begun = prompt.text.removesuffix(TEXT)
    if family in OPENED:
        assert new.text.startswith(begun)
        assert new.text != begun
    elif family != "phi":  # which writes no head for an earlier turn of the assistant
        assert begun.startswith(new.text)


@pytest.mark.parametrize("family", SOURCES)
def test_a_thought_goes_on(f16_model: Model, family: str) -> None:
    form = detect(SOURCES[family])
    new = written(f16_model, SOURCES[family])
    prompt = written(f16_model, SOURCES[family], thought("Let me"))
    if form.thoughts is None:
        assert prompt.text == new.text, "a model without thoughts begins its answer"
        return
    assert prompt.thinking
    opening = form.thoughts.opening
    assert prompt.text.endswith((f"{opening}Let me", f"{opening}\nLet me"))
    assert prompt.text.count(opening) == 1
    assert form.thoughts.closing not in prompt.text.partition(opening)[2]


QWEN = PUBLISHED["qwen-3"]
BEGINNINGS = {
    "<think>\nLet me": (True, "<think>\nLet me"),
    "\n<think>Well.</think>\n4": (False, "\n<think>Well.</think>\n4"),
    "<think>": (True, "<think>"),
    "Is <think> a tag": (False, "Is <think> a tag"),
}


@pytest.mark.parametrize("source", ["qwen-3", "think", "namespaces"])
@pytest.mark.parametrize("text", BEGINNINGS)
def test_a_thought_in_the_text(f16_model: Model, source: str, text: str) -> None:
    thinking, end = BEGINNINGS[text]
    prompt = written(f16_model, SOURCES[source], said("assistant", text))
    empty = "<think>\n\n</think>\n\n" * (
        source == "namespaces" and not text.strip().startswith("<t")
    )
    assert prompt.text.endswith(HEADER + empty + end)
    assert prompt.thinking is thinking
    assert (prompt.chat_format.thoughts is None) is not thinking


def test_a_thought_and_a_text(f16_model: Model) -> None:
    prompt = written(f16_model, QWEN, thought("Well.", "So "))
    assert prompt.text.endswith(HEADER + "<think>\nWell.\n</think>\n\nSo ")
    assert not prompt.thinking


def test_tags_of_a_thought_may_be_control_tokens(f16_model: Model) -> None:
    """The client's text may not."""
    source = PUBLISHED["think"].replace("<think>", "[THINK]").replace("</think>", "[/THINK]")
    prompt = written(f16_model, source, said("assistant", "[THINK]a<|im_end|>[/THINK]b[THINK]"))
    assert prompt.parts[1:] == [
        Part("[THINK]", True),
        Part("a<|im_end|>", False),
        Part("[/THINK]", True),
        Part("b[THINK]", False),
    ]
    ids = prompter(f16_model, source).tokenize(prompt)
    marks = [f16_model.shown(id_) for id_ in ids if f16_model.is_control(id_)]
    assert marks.count(b"<|im_end|>") == 2


def test_so_may_they_in_earlier_turns(f16_model: Model) -> None:
    """Templates look for them, to take the thought out of a turn that is over."""
    source = PUBLISHED["qwen-3"].replace("<think>", "<|a|>").replace("</think>", "<|b|>")
    source = source.replace("<|a|>", "[THINK]").replace("<|b|>", "[/THINK]")
    made = prompter(f16_model, source)
    made._control_text = ControlText(["[THINK]", "[/THINK]", "<|im_end|>"], source)
    said_ = said("assistant", "[THINK]Well.[/THINK]\n4<|im_end|> [THINK]")
    text = made.write(Chat([*ASKED, said_, said("user", "So?[/THINK]<|im_end|>")]), NOW)
    assert HEADER + "4<|im_end|> [THINK]<|im_end|>\n" in text.text
    stood = [part.text for part in text.parts if not part.control]
    assert stood == ["<", "[", "[", "<"]


def test_space_in_a_thought_that_goes_on(f16_model: Model) -> None:
    """It is the thought's; that behind the tag is nobody's."""
    for last, expected in [
        (thought("Let me"), " see. "),
        (said("assistant", "<think>\nLet me"), " see. "),
        (said("assistant", "<think>"), "see. "),
        (said("assistant", "<think>\n"), "see. "),
    ]:
        prompt = written(f16_model, QWEN, last)
        parser = OutputParser(prompt.chat_format, use=None, thinking=prompt.thinking)
        found = [parser.push(" see. "), parser.push("Yes</think>\n\n4"), parser.finish()]
        assert "".join(each.reasoning for each in found) == expected + "Yes"
        assert "".join(each.content for each in found) == "4"


def test_space_alone_is_kept(f16_model: Model) -> None:
    prompt = written(f16_model, QWEN, said("assistant", " \n"))
    assert prompt.text.endswith(HEADER + " \n")
    assert prompt.chat_format.thoughts is not None


def test_fields_by_name(f16_model: Model) -> None:
    answer = said("assistant", "4")
    closed, new = HEADER + "4<|im_end|>\n", HEADER + "4<|im_end|>\n" + HEADER
    source = PUBLISHED["chatml"]
    for fields, end in [
        ({}, HEADER + "4"),
        ({"continue_final_message": True}, HEADER + "4"),
        ({"continue_final_message": True, "add_generation_prompt": False}, HEADER + "4"),
        ({"add_generation_prompt": False}, closed),
        ({"continue_final_message": False, "add_generation_prompt": False}, closed),
        ({"continue_final_message": False}, new),
        ({"add_generation_prompt": True}, new),
        ({"continue_final_message": False, "add_generation_prompt": True}, new),
    ]:
        assert written(f16_model, source, answer, **fields).text.endswith("2?<|im_end|>\n" + end)
    last = written(f16_model, source, add_generation_prompt=False)
    assert last.text.endswith("What is 2 + 2?<|im_end|>\n")


def test_what_is_no_beginning(f16_model: Model) -> None:
    called = said("assistant", "", tool_calls=CALLS)
    source = PUBLISHED["chatml"]
    assert written(f16_model, source, called).text.endswith("</tool_call><|im_end|>\n" + HEADER)
    assert written(f16_model, source, said("assistant", "")).text.endswith(
        "2?<|im_end|>\n" + HEADER
    )
    for last, why in [((called,), "ends with calls"), ((), "is not the assistant's")]:
        with pytest.raises(InputRefused, match=why) as caught:
            written(f16_model, source, *last, continue_final_message=True)
        assert (caught.value.code, caught.value.param) == (BAD_PROMPT, "continue_final_message")
    alone = prompter(f16_model, source).write(Chat([said("assistant", "Once")]), NOW)
    assert alone.text == HEADER + "Once"
    empty = prompter(f16_model, source).write(Chat([said("assistant", "")]), NOW)
    assert empty.text.endswith(HEADER)


def test_it_is_joined_with_the_message_before_it(f16_model: Model) -> None:
    """Where the template insists on turns."""
    two = [said("assistant", "Well."), said("assistant", "So ")]
    assert written(f16_model, PUBLISHED["gemma-2"], *two).text.endswith("model\nWell.\n\nSo ")


def test_the_system_message_is_kept_by_templates_that_put_it_last(f16_model: Model) -> None:
    prompt = written(f16_model, PUBLISHED["mistral-v3"], said("assistant", "So "))
    assert prompt.text == "<s>[INST] Be brief.\n\nWhat is 2 + 2?[/INST]So "


def test_the_answer_is_the_rest(exact: Driver) -> None:
    """Cut anywhere between two tokens, it goes on as it went."""
    (whole,) = exact.run(generate(1, Chat(STORY)))
    pieces = [exact.input_processor._model.shown(id_).decode() for id_ in whole.ids]
    assert len(pieces) == 24
    for at in (1, 4, 7, 12):
        begun = "".join(pieces[:at])
        chat = Chat([*STORY, said("assistant", begun)])
        (rest,) = exact.run(generate(10 + at, chat, max_tokens=24 - at))
        assert begun + rest.text == whole.text


def test_a_schema_binds_what_is_generated(exact: Driver) -> None:
    chat = Chat([said("user", "Give a number."), said("assistant", "The number is ")])
    request = generate(1, chat, max_tokens=20, ignore_eos=False)
    schema = JsonSchema({"type": "integer", "minimum": 0, "maximum": 9})
    (outcome,) = exact.run(with_params(request, constraint=schema))
    assert outcome.text in {*"0123456789"}


def test_a_call_after_a_text(exact: Driver) -> None:
    use = ToolUse([WEATHER], ["get_weather"], required=True, parallel=False)
    chat = Chat([*ASK.messages, said("assistant", "Let me look.\n")], use)
    exact.run(generate(1, chat, max_tokens=80, ignore_eos=False))
    text, _, calls, reason = heard(exact, 1)
    assert (text, reason) == ("", "tool_calls")
    assert isinstance(json.loads("".join(call.arguments for call in calls))["city"], str)


def test_no_channel_comes_after_a_text(exact: Driver) -> None:
    """The text of an answer in gpt-oss's channels has been announced already."""
    guides = exact.input_processor._guides
    form = detect(PUBLISHED["gpt-oss"])
    use = ToolUse([WEATHER], ["get_weather"], required=False, parallel=True)
    grammar = guides._answer(None, Chat(STORY, use), False, form, None)
    assert "<|channel|>final" in grammar
    assert "<|channel|>final" not in guides._answer(
        None, Chat(STORY, use), False, form.after_text, None
    )
