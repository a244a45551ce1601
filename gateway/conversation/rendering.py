"""From turns to the messages that chat templates read, which are in OpenAI's form. Pure."""

from collections.abc import Callable
from typing import Any

from gateway.conversation.turns import (
    AnyBlock,
    CallBlock,
    MediaBlock,
    TextBlock,
    ThoughtBlock,
    Turn,
)

TemplateMessage = dict[str, Any]
Omitted = Callable[[MediaBlock], None]
"""Learns of each block for which a text stands."""


def rendered(turns: list[Turn], omitted: Omitted | None = None) -> list[TemplateMessage]:
    """Return the messages of a conversation, one for each turn.

    A text stands for media, which ``omitted`` hears of; those of the newest user turn are refused,
    for its author is there to hear of it. None: all are. Raises ContentNotSupported.
    """
    last = range(len(turns) - 1, -1, -1)
    newest = next((at for at in last if turns[at].role == "user"), None)
    return [_message(each, None if at == newest else omitted) for at, each in enumerate(turns)]


def _message(turn: Turn, omitted: Omitted | None) -> TemplateMessage:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[CallBlock] = []
    for block in turn.blocks:
        _sort(block, texts, thoughts, calls, omitted)
    found: TemplateMessage = {
        "role": turn.role,
        "content": texts[0] if len(texts) == 1 else "\n".join(text for text in texts if text),
    }
    if turn.name is not None:
        found["name"] = turn.name
    if thoughts:
        found["reasoning_content"] = "\n".join(thoughts)
    if calls:
        found["tool_calls"] = [_call(call) for call in calls]
    if turn.role == "tool":
        found["tool_call_id"] = turn.call_id
    return found


def _sort(
    block: AnyBlock,
    texts: list[str],
    thoughts: list[str],
    calls: list[CallBlock],
    omitted: Omitted | None,
) -> None:
    match block:
        case TextBlock():
            texts.append(block.text)
        case ThoughtBlock():
            thoughts.append(block.text)
        case CallBlock():
            calls.append(block)
        case MediaBlock():
            texts.append(_stand_in(block, omitted))


def _stand_in(block: MediaBlock, omitted: Omitted | None) -> str:
    """Return the text that stands for media. Raises ContentNotSupported."""
    kind = block.kind
    if omitted is None:
        field = ".".join(map(str, (*block.path, "type") if block.typed else block.path))
        raise kind(f"'{field}': this model does not take {kind.things}", param=field)
    omitted(block)
    return f"[{kind.thing} omitted: this model does not take {kind.things}]"


def _call(call: CallBlock) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}
