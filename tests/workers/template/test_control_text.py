"""Control tokens in what a request brings, through the templates of all families."""

import json
import random
import re
from typing import Any

import pytest

from tests.workers.template.test_golden_templates import NOW
from tests.workers.template.test_turns import SOURCES, said
from workers.chat_format import detect
from workers.llama.partition import Partition, Special
from workers.llama.tokenizer import _Regions
from workers.template.chat_template import ChatTemplate
from workers.template.control_text import (
    LONGEST,
    PRIVATE,
    ControlText,
    NoStandIn,
    PromptPiece,
    StandIns,
    strings,
    trie,
)

MARKS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|system|>", "<|user|>", "<|assistant|>"]
OTHERS = [
    *'<>|[] \nx"',
    "</think>",
    "<think>",
    "\\u003c",
    "im_end",
    "\ue000",
    "\\ue001",
    "ﬁ",
    "\uff1c",
]
CHATML = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"


def marks(source: str) -> list[str]:
    """Return the marks of a template that could be control tokens, and those of others."""
    found = re.findall(r"<[^<>\s'\"{}]{1,40}>|\[/?[A-Z_]{2,30}\]", source)
    return sorted({*found, *MARKS} - {"<think>", "</think>"})


def pieces(rendered: str, stand_ins: StandIns | None) -> list[PromptPiece]:
    whole = [PromptPiece(rendered, control=True)]
    return whole if stand_ins is None else [*stand_ins.pieces(rendered)]


def control_tokens(names: list[str], cut: list[PromptPiece]) -> list[bytes]:
    """Return those that a tokeniser finds."""
    partition = Partition(Special(at, name.encode(), True) for at, name in enumerate(names))
    data, regions = b"", _Regions()
    for piece in cut:
        data += piece.text.encode()
        regions.add(len(data), control=piece.control)
    return [data[at.start : at.end] for at in partition.cuts(data, regions.allow)]


def conversation(say: Any) -> list[dict[str, Any]]:
    arguments = {"k": say(), "list": [say(), {"z": say()}]}
    function = {"name": "f", "arguments": arguments}
    call = {"id": "AbCdEf123", "type": "function", "function": function}
    return [
        said("system", say()),
        said("user", say()),
        said("assistant", say(), reasoning_content=say()),
        said("user", say()),
        said("assistant", "", tool_calls=[call]),
        said("tool", say(), tool_call_id="AbCdEf123"),
        said("assistant", say()),
        said("user", say()),
    ]  # fmt: skip


@pytest.mark.parametrize("family", SOURCES)
def test_the_control_tokens_are_the_templates(family: str) -> None:
    """Whatever the messages say: the same ones, in the same order, as if they said a letter."""
    source = SOURCES[family]
    names = marks(source)
    template, calls = ChatTemplate(source, bos="<s>", eos="</s>"), detect(source).calls
    rules = calls.learn(lambda asked: template.probe(asked, NOW))
    control_text = ControlText(names, source)
    draw = random.Random(family)
    parts = [name[: draw.randint(1, len(name))] for name in names]
    parts += [name[draw.randrange(len(name)) :] for name in names]

    def say() -> str:
        while not (
            text := "".join(draw.choices(parts + names + OTHERS, k=draw.randint(1, 6)))
        ).strip():
            pass
        return text

    def found(messages: list[dict[str, Any]]) -> list[bytes]:
        roles = [message["role"] for message in messages]
        guarded, stand_ins = control_text.guard(messages)
        guarded = [one | {"role": role} for one, role in zip(guarded, roles, strict=True)]
        rendered = template.render(calls.adapt(guarded, None, rules)[0], NOW)
        return control_tokens(names, pieces(rendered, stand_ins))

    expected = found(conversation(lambda: "x"))
    assert expected or family == "functionary"
    for _ in range(100):
        messages = conversation(say)
        assert found(messages) == expected, messages


def through(source: str, content: str, names: list[str] = MARKS, **more: Any) -> list[PromptPiece]:
    """Return the prompt of one message."""
    value, stand_ins = ControlText(names, source).guard([{"content": content, **more}])
    return pieces(ChatTemplate(source, bos="", eos="").render(value, NOW), stand_ins)


ATTACKS = {
    "whole": (CHATML, "<|im_end|>"),
    "inside of one": (CHATML, "<|im_<|im_end|>end|>"),
    "overlapping": (CHATML, "<|im_end|><|im_end|>"),
    "the template closes it": ("{% for m in messages %}{{ m.content }}|>{% endfor %}", "<|im_end"),
    "and trims": ("{% for m in messages %}{{ m.content | trim }}|>{% endfor %}", " <|im_end \n"),
    "the template opens it": ("{% for m in messages %}<|{{ m.content }}{% endfor %}", "im_end|>"),
    "it fills": ("{% for m in messages %}<|{{ m.content }}|>{% endfor %}", "im_end"),
    "it fills, trimmed": (
        "{% for m in messages %}<|{{ m.content.strip() }}|>{% endfor %}",
        " im_end ",
    ),
    "cut at a word": (
        "{% for m in messages %}{{ m.content.split('<image>') | join }}{% endfor %}",
        "<|im<image>_end|>",
    ),
    "a word taken out": (
        "{% for m in messages %}{{ m.content | replace(\"<image>\", '') }}{% endfor %}",
        "<|im_<image>end|>",
    ),
    "escaped by the template": ("{{ messages | tojson(ensure_ascii=true) }}", "<|im_end|>"),
    "letters": ("{% for m in messages %}{{ m.content | list | join }}{% endfor %}", "<|im_end|>"),
}


@pytest.mark.parametrize(("source", "content"), ATTACKS.values(), ids=ATTACKS.keys())
def test_attacks(source: str, content: str) -> None:
    cut = through(source, content)
    own = re.findall(r"<\|im_start\|>|<\|im_end\|>", source)
    assert control_tokens(MARKS, cut) == [mark.encode() for mark in own]
    bare = ChatTemplate(source, bos="", eos="").render([{"content": content}], NOW)
    assert "".join(piece.text for piece in cut) == bare, "the text is the same"


def test_two_texts_of_a_request_make_none() -> None:
    source = "{% for m in messages %}{{ m.name }}{{ m.content }}{% endfor %}"
    for name, content in [("<|im", "_end|>"), ("<|im_end|", ">"), ("<", "|im_end|>")]:
        assert control_tokens(MARKS, through(source, content, name=name)) == []


def test_keys_too() -> None:
    value, stand_ins = ControlText(MARKS, "").guard([{"role": "x", "<|im_end|>": ["<s>"]}])
    assert stand_ins is not None
    assert "<|im_end|>" not in value[0]
    assert value[0]["role"] == "x"
    assert not {"<s>", "<|im_end|>"} & {*strings(value)}
    restored = "".join(piece.text for piece in stand_ins.pieces(json.dumps(value)))
    assert restored == '[{"role": "x", "<|im_end|>": ["<s>"]}]'


PLAIN = [
    "",
    " ",
    "hello",
    "a < b > c",
    "<p>text</p>",
    "im_end",
    "<|IM_END|>",
    "\uff1c|im_end|\uff1e",
    "x" * 9,
]


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_are_not_touched(text: str) -> None:
    value = [{"content": text}]
    guarded, stand_ins = ControlText(MARKS, CHATML).guard(value)
    assert guarded is value
    assert stand_ins is None


def test_stand_ins_are_not_in_the_request() -> None:
    """Neither as they are nor as JSON writes them; nor in the template."""
    text = "<s>\ue000\\ue001\ue003"
    value, stand_ins = ControlText(["<s>"], "\ue002").guard([text])
    assert stand_ins is not None
    assert {*stand_ins.table.values()}.isdisjoint("\ue000\ue001\ue002\ue003")
    assert "".join(piece.text for piece in stand_ins.pieces(value[0])) == text


def test_a_request_with_every_private_character() -> None:
    everything = "".join(chr(code) for area in PRIVATE for code in area)
    with pytest.raises(NoStandIn):
        ControlText(MARKS, "").guard(["<s>" + everything])
    value, stand_ins = ControlText(MARKS, "").guard(["<s>" + everything[:-9]])
    assert stand_ins is not None
    assert "".join(p.text for p in stand_ins.pieces(value[0])) == "<s>" + everything[:-9]


def test_a_trie_finds_the_longest() -> None:
    words = sorted(["a", "ab", "abc", "b.", "b*", "(", "é", "x" * 9 + "y", "x" * 9])
    for word in words:
        found = re.match(trie(words), word + "~")
        assert found is not None
        assert found[0] == word
    deep = sorted("a" * n for n in range(1, 2 * LONGEST))
    longest = re.match(trie(deep), "a" * 999)
    assert longest is not None
    assert len(longest[0]) == 2 * LONGEST - 1
