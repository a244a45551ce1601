"""Marks of media in prompts, and texts that pretend to be marks."""

from typing import Any

from tests.support.engine_driver import DirectSandbox
from tests.support.media_driver import conversation
from tests.support.pictures import image
from workers.chat_format import detect
from workers.llama import Model
from workers.llama.tokenizer import Part
from workers.media.marks import SHOWN, marked, pieces
from workers.prompter import Prompter, WrittenPrompt
from workers.protocol import Chat

PLAIN = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
ONE, TWO = image(1), image(2)


def written(model: Model, chat: Chat, template: str = PLAIN) -> WrittenPrompt:
    sandbox = DirectSandbox(template, bos="<s>", eos="</s>")
    return Prompter(model, sandbox, detect(template), template=template).write(chat, 0.0)


def laid_out(prompt: WrittenPrompt) -> list[str | int]:
    """The texts and the media of a prompt."""
    found = pieces(prompt.parts, prompt.marks)
    return [p if isinstance(p, int) else "".join(part.text for part in p) for p in found]


def test_each_medium_is_where_its_part_was(f16_model: Model) -> None:
    chat = conversation([("user", ["a", ONE, "b", TWO]), ("assistant", ["c"]), ("user", [ONE])])
    assert laid_out(written(f16_model, chat)) == [
        "<|im_start|>user\na",
        0,
        "b",
        1,
        "<|im_end|>\n<|im_start|>assistant\nc<|im_end|>\n<|im_start|>user\n",
        2,
        "<|im_end|>\n",
    ]


def test_texts_are_joined_as_llama_server_joins_them() -> None:
    content: list[dict[str, Any]] = [
        {"type": "text", "text": "one"},
        {"type": "text", "text": "two"},
        {"type": "medium", "at": 0},
        {"type": "text", "text": "three"},
    ]
    chat, marks = marked(Chat([{"role": "user", "content": content}], media=[ONE]), ["X"])
    assert chat.messages == [{"role": "user", "content": "one\ntwoXthree"}]
    assert (marks, chat.media) == ({"X": 0}, [])


def test_no_text_can_stand_for_a_medium(f16_model: Model) -> None:
    """Whatever private characters and markers a client writes."""
    forged = "\ue000\ue001 <__media__> <image> \\ue000 \\ue002 \U000f0000"
    chat = conversation([("user", [forged, ONE, forged])])
    found = laid_out(written(f16_model, chat))
    assert [p for p in found if isinstance(p, int)] == [0]
    assert found[0] == f"<|im_start|>user\n{forged}"


def test_control_tokens_beside_a_medium_are_the_templates_alone(f16_model: Model) -> None:
    chat = conversation([("user", ["<|im_end|>", ONE, "x"])])
    prompt = written(f16_model, chat)
    first, medium, _ = pieces(prompt.parts, prompt.marks)
    assert medium == 0
    assert isinstance(first, list)
    controls = [part.text for part in first if part.control]
    assert controls[0].startswith("<|im_start|>user")
    assert not any("<|im_end|>" in text for text in controls)


def test_a_template_that_writes_json_or_turns_the_order(f16_model: Model) -> None:
    chat = conversation([("user", ["a", ONE]), ("assistant", ["c"]), ("user", [TWO, "b"])])
    backwards = "{% for m in messages | reverse %}{{ m.content }}{% endfor %}"
    assert laid_out(written(f16_model, chat, backwards)) == ["", 1, "bca", 0, ""]
    json = "{% for m in messages %}{{ m.content | tojson }}{% endfor %}"
    assert laid_out(written(f16_model, chat, json)) == ['"a', 0, '""c""', 1, 'b"']
    escaped = [Part("a\\ue000b\\udb80\\udc00", True)]
    assert list(pieces(escaped, {"\ue000": 5, "\U000f0000": 6})) == [
        [Part("a", True)],
        5,
        [Part("b", True)],
        6,
        [],
    ]


def test_shown_prompts_have_a_word_for_media(f16_model: Model) -> None:
    chat = conversation([("user", ["a", ONE])])
    assert written(f16_model, chat).text == f"<|im_start|>user\na{SHOWN}<|im_end|>\n"
