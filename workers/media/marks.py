"""Places of media in conversations, as a template writes them.

A template gets texts. In each message with media these are marks: characters of Unicode's private
use that are nowhere in the request nor in the template, one for each medium, so that no text of
a client can stand for a medium, and no template can confuse two. Texts are joined as llama-server
joins them: a line's end between two texts, nothing beside a medium.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from workers.llama.tokenizer import Part
from workers.protocol import MEDIUM, Chat

Message = dict[str, Any]
Marks = Mapping[str, int]
"""Characters, and which of the conversation's media they stand for."""
NO_MARKS: Marks = {}
SHOWN = "<__media__>"
"""The text that stands for a medium where a prompt is shown: llama.cpp's."""


def marked(chat: Chat, characters: Sequence[str]) -> tuple[Chat, Marks]:
    """Return a conversation whose messages are texts with marks.

    ``characters``: such as it does not have, one for each of its media.
    """
    messages = [_joined(message, characters) for message in chat.messages]
    marks = {character: at for at, character in enumerate(characters)}
    return replace(chat, messages=messages, media=[]), marks


def _joined(message: Message, characters: Sequence[str]) -> Message:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    text, after_text = "", False
    for part in content:
        if part["type"] == MEDIUM:
            text, after_text = text + characters[part["at"]], False
        else:
            text, after_text = text + "\n" * after_text + part["text"], True
    return {**message, "content": text}


def pieces(parts: list[Part], marks: Marks) -> Iterator[list[Part] | int]:
    """Yield the texts and the media of a prompt in turn; it begins and ends with texts."""
    pattern = _pattern(marks)
    texts = list[Part]()
    for part in parts:
        for at, text in enumerate(pattern.split(part.text)):
            if at % 2:
                yield texts
                yield marks[_meant(text)]
                texts = []
            elif text:
                texts.append(Part(text, part.control))
    yield texts


def shown(text: str, marks: Marks) -> str:
    """Return a prompt's text with :data:`SHOWN` for its media."""
    return _pattern(marks).sub(SHOWN, text) if marks else text


def _pattern(marks: Marks) -> re.Pattern[str]:
    """Find marks, also as a template's JSON may write them."""
    forms = (form for mark in marks for form in (re.escape(mark), re.escape(_escaped(mark))))
    return re.compile(f"({'|'.join(forms)})")


def _escaped(mark: str) -> str:
    return "".join(
        f"\\u{mark.encode('utf-16-be')[at : at + 2].hex()}"
        for at in range(0, len(mark.encode("utf-16-be")), 2)
    )


def _meant(form: str) -> str:
    """Return the mark that a form of it stands for."""
    if not form.startswith("\\u"):
        return form
    return bytes.fromhex(form.replace("\\u", "")).decode("utf-16-be")
