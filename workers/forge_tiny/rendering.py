"""Conversations to text by the very template that ships in the GGUF."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .corpus.message import CorpusConversation

TEMPLATE_PATH = Path(__file__).with_name("template.jinja")


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _tojson(value: Any) -> str:
    # Jinja's own filter sorts keys and escapes for HTML; chat templates expect plain JSON.
    return json.dumps(value, ensure_ascii=False)


def source() -> str:
    """The template's text."""
    return TEMPLATE_PATH.read_text(encoding="utf-8")


@cache
def _template() -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    return environment.from_string(source())


def render(conversation: CorpusConversation, *, prompt: bool = False) -> str:
    """The text of a conversation; with `prompt` it ends where the assistant has to go on.

    Plain text stays as it is.
    Raises jinja2.TemplateError for a role that the template does not know.
    """
    if conversation.text:
        return conversation.text
    return _template().render(
        messages=conversation.messages,
        tools=conversation.tools or None,
        add_generation_prompt=prompt,
    )
