"""llama.cpp's names of chat templates: each is written as llama.cpp itself writes it."""

import ctypes

import llama_cpp
import pytest

from gateway.config import chat_templates
from gateway.config.chat_templates import TEMPLATES, UNKNOWN
from workers.template.chat_template import ChatTemplate

CHATS = {
    "question": [("user", "Hi")],
    "turns": [("user", " Hi "), ("assistant", " Hello.\n"), ("user", "\n2 {{ + }} 2?")],
    "system": [("system", " Be brief.\n"), ("user", "Hi"), ("assistant", "Ü"), ("user", "Bye")],
}


def by_llama_cpp(name: str, chat: list[tuple[str, str]]) -> str:
    """Return what llama.cpp's own code writes."""
    messages = (llama_cpp.llama_chat_message * len(chat))(
        *(llama_cpp.llama_chat_message(role.encode(), text.encode()) for role, text in chat)
    )
    room = ctypes.create_string_buffer(4096)
    size = llama_cpp.llama_chat_apply_template(
        name.encode(), messages, len(chat), True, room, len(room)
    )
    assert 0 < size < len(room)
    return room.raw[:size].decode()


def test_all_names_of_llama_cpp_are_known() -> None:
    count = llama_cpp.llama_chat_builtin_templates(None, 0)
    names = (ctypes.c_char_p * count)()
    llama_cpp.llama_chat_builtin_templates(names, count)
    assert {name.decode() for name in names} == set(TEMPLATES) | UNKNOWN
    assert not set(TEMPLATES) & UNKNOWN


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_name_writes_what_llama_cpp_does(name: str, chat: list[tuple[str, str]]) -> None:
    template = ChatTemplate(chat_templates.named(name), bos="<s>", eos="</s>")
    messages = [{"role": role, "content": text} for role, text in chat]
    assert template.render(messages, 0.0) == by_llama_cpp(name, chat)


@pytest.mark.parametrize("text", ["llama4", "llama-3", "template.jinja", "Answer:"])
def test_what_would_be_every_prompt_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--chat-template-file takes a file"):
        chat_templates.named(text)


def test_a_template_is_itself() -> None:
    assert chat_templates.named("{% if a %}b{% endif %}") == "{% if a %}b{% endif %}"
