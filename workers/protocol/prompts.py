"""The start of a generation: a conversation, a text, tokens or a gap; or a pair to be ranked."""

from typing import Any

import msgspec

from workers.protocol.media import Medium
from workers.protocol.params import Grammar


class ToolUse(msgspec.Struct, frozen=True):
    """The functions that a model may call, and how free it is to do so."""

    tools: list[dict[str, Any]]
    """OpenAI's form, which templates read: {"type": "function", "function": {"name", ...}}."""
    callable: list[str]
    """Names of those that may be called now: all of them, or fewer."""
    required: bool
    """True if the answer must be a call; else it may be text."""
    parallel: bool
    """True if one answer may hold several calls."""
    grammars: dict[str, Grammar] = {}
    """By the names of functions that take one text, ``input``: the grammar that it follows."""


class Chat(msgspec.Struct, frozen=True, tag="chat"):
    """A conversation; the worker renders it with the model's chat template."""

    messages: list[dict[str, Any]]
    tools: ToolUse | None = None
    arguments: dict[str, Any] = {}
    """More variables for the template, such as enable_thinking."""
    continue_final_message: bool | None = None
    """True if the answer goes on with the last message, an assistant's; None: if it is one."""
    add_generation_prompt: bool | None = None
    """False: the prompt ends as the template ends the last message."""
    before: list[int] = []
    """Tokens that stand before the conversation, such as those of an earlier one."""
    media: list[Medium] = []
    """Pictures and sound that parts of messages refer to; see :mod:`workers.protocol.media`."""


class Text(msgspec.Struct, frozen=True, tag="text"):
    """A prompt taken as it is, without a template."""

    text: str


class Tokens(msgspec.Struct, frozen=True, tag="tokens"):
    """A prompt that the client has tokenised; ids are checked against the vocabulary."""

    ids: list[int]


class Mixed(msgspec.Struct, frozen=True, tag="mixed"):
    """A prompt of texts and token ids in turn; ids are checked against the vocabulary."""

    parts: list[str | int]
    """Texts and ids. The model's own beginning is put only before a text that comes first."""


class Infill(msgspec.Struct, frozen=True, tag="infill"):
    """The text before and after the one that is wanted, for models with FIM tokens."""

    prefix: str
    suffix: str
    begun: str = ""
    """The beginning of the wanted text, which follows the prefix; control tokens count in it."""
    files: list[tuple[str, str]] | None = None
    """Names and texts of other files of a project. None: it is about no project, and is not cut."""


class TextPair(msgspec.Struct, frozen=True, tag="pair"):
    """A query and a document, for models that rank; both are mere text."""

    query: str
    document: str
    query_field: str = "query"
    """The field of the request that it came from, to be named if it is refused."""
    document_field: str = "documents"


Prompt = Chat | Text | Tokens | Mixed | Infill | TextPair
