"""The turns of a conversation in Anthropic's blocks.

What was said can't be unsent, so little is refused: an unknown block is read as its text, or left
out. Results come before the words beside them, which is where templates write them; apart from that
everything stays in its place.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.api.field_policy import IgnoredFields
from gateway.api.messages.signature import carried
from gateway.api.nested import Extensible
from gateway.api.openai.media_parts import media_block
from gateway.api.openai.parts import MEDIA, document_text
from gateway.conversation import (
    FUNCTION_NAME,
    AnyBlock,
    CallBlock,
    TextBlock,
    ThoughtBlock,
    Turn,
    arguments,
)
from gateway.core.errors import BadRequest, FileNotSupported

BILLING = "x-anthropic-billing-header:"
"""Begins the block that Claude Code puts before its instructions. It differs between conversations,
and means nothing to a model: without it they share the prefix of the long instructions."""
FAILED = "Error: "
"""Stands before the result of a call that failed."""
Path = tuple[str | int, ...]


class GivenBlock(Extensible):
    """A block of any type; what it must have is told by where it is read."""

    type: str

    @property
    def given(self) -> dict[str, Any]:
        return self.model_extra or {}


class GivenMessage(Extensible):
    role: Literal["user", "assistant", "system"]
    """`system`: instructions that are given in the middle of a conversation, and stay there."""
    content: str | Annotated[list[GivenBlock], Field(fail_fast=True)]


def read(messages: list[GivenMessage], ignored: IgnoredFields) -> list[Turn]:
    """Return the turns; ``ignored`` learns of blocks that are left out. Raises BadRequest."""
    turns: list[Turn] = []
    for at, message in enumerate(messages):
        path, content = ("messages", at, "content"), message.content
        if isinstance(content, str):
            turns.append(Turn(message.role, [TextBlock(content)]))
        elif message.role == "user":
            turns += _user(content, path, ignored)
        elif message.role == "assistant":
            turns.append(Turn("assistant", _blocks(content, path, ignored, spoken=True)))
        else:
            turns.append(Turn("system", _blocks(content, path, ignored)))
    return turns


def system_text(system: str | list[GivenBlock]) -> str:
    """Return the instructions before a conversation, without Claude Code's billing block."""
    if isinstance(system, str):
        first, _, rest = system.partition("\n")
        return rest.lstrip("\n") if first.startswith(BILLING) else system
    texts = [block.given.get("text") for block in system]
    return "\n".join(
        text for text in texts if isinstance(text, str) and text and not text.startswith(BILLING)
    )


def _user(content: list[GivenBlock], path: Path, ignored: IgnoredFields) -> list[Turn]:
    """Return a user's turn, after those of the results that it brings."""
    results, said = list[Turn](), list[AnyBlock]()
    for index, block in enumerate(content):
        if block.type == "tool_result":
            results.append(_result(block.given, (*path, index), ignored))
        else:
            said += _words(block, (*path, index), ignored)
    return [*results, Turn("user", said)] if said or not results else results


def _result(given: dict[str, Any], path: Path, ignored: IgnoredFields) -> Turn:
    content = given.get("content")
    blocks: list[AnyBlock] = []
    if isinstance(content, str):
        blocks = [TextBlock(content)]
    elif isinstance(content, list):
        inner = (*path, "content")
        blocks = _blocks(
            [_block(each, inner, at) for at, each in enumerate(content)], inner, ignored
        )
    elif content is not None:
        raise _wrong((*path, "content"), "a string or a list of blocks")
    if given.get("is_error") is True:
        first = blocks[0] if blocks else None
        if isinstance(first, TextBlock):
            blocks[0] = TextBlock(FAILED + first.text)
        else:
            blocks.insert(0, TextBlock(FAILED.strip()))
    return Turn("tool", blocks, call_id=_string(given, "tool_use_id", path))


def _block(value: Any, path: Path, at: int) -> GivenBlock:
    if isinstance(value, str):
        return GivenBlock.model_validate({"type": "text", "text": value})
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise _wrong((*path, at), "a block with a 'type'")
    return GivenBlock.model_validate(value)


def _blocks(
    content: list[GivenBlock], path: Path, ignored: IgnoredFields, *, spoken: bool = False
) -> list[AnyBlock]:
    """Return the blocks of a content; ``spoken``: by the assistant, who thinks and calls, too."""
    found: list[AnyBlock] = []
    for index, block in enumerate(content):
        place = (*path, index)
        if spoken and block.type == "tool_use":
            found.append(_call(block.given, place))
        elif spoken and block.type == "thinking":
            thought = block.given.get("thinking")
            text = thought if isinstance(thought, str) else ""
            text = text or carried(block.given.get("signature"))
            if text:
                found.append(ThoughtBlock(text))
        elif not (spoken and block.type == "redacted_thinking"):
            found += _words(block, place, ignored)
    return found


def _words(block: GivenBlock, path: Path, ignored: IgnoredFields) -> list[AnyBlock]:
    """Return the text of a block, or what stands for media; nothing of one that has none."""
    given = block.given
    text = given.get("text")
    if block.type == "text":
        return [TextBlock(_string(given, "text", path) if text is not None else "")]
    if block.type == "search_result":
        return [TextBlock(_search_result(given))]
    kind = MEDIA.get(block.type)
    if kind is not None:
        text = document_text(given) if kind is FileNotSupported else None
        return [media_block(block.type, given, path) if text is None else TextBlock(text)]
    if isinstance(text, str):
        return [TextBlock(text)]
    *inside, last = path
    ignored.add(str(last), *inside)
    return []


def _call(given: dict[str, Any], path: Path) -> CallBlock:
    name = _string(given, "name", path)
    if not re.fullmatch(FUNCTION_NAME, name):
        raise _wrong((*path, "name"), "1 to 256 characters that can be printed")
    return CallBlock(
        _string(given, "id", path), name, arguments(given.get("input"), (*path, "input"))
    )


def _search_result(given: dict[str, Any]) -> str:
    """Return a search result as text: its title, its source, its texts."""
    content = given.get("content")
    texts = (
        [each.get("text") for each in content if isinstance(each, dict)]
        if isinstance(content, list)
        else []
    )
    parts = [given.get("title"), given.get("source"), *texts]
    return "\n".join(part for part in parts if isinstance(part, str) and part)


def _string(given: dict[str, Any], name: str, path: Path) -> str:
    value = given.get(name)
    if isinstance(value, str):
        return value
    raise _wrong((*path, name), "a string")


def _wrong(path: Path, wanted: str) -> BadRequest:
    field = ".".join(map(str, path))
    return BadRequest(f"'{field}': it should be {wanted}", param=field)
