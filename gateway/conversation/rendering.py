"""From turns to the messages that chat templates read, which are in OpenAI's form. Pure.

The content of a message is a text. With media that the model takes it is a list of parts: texts,
and ``{"type": "medium", "source": MediaOrigin}``, until :mod:`gateway.api.media` has read the
bytes and put their place in :class:`workers.protocol.Chat` there instead.
"""

from collections.abc import Callable
from typing import Any

from gateway.conversation.turns import (
    BLIND,
    SENSES,
    AnyBlock,
    CallBlock,
    MediaBlock,
    MediaOrigin,
    Senses,
    TextBlock,
    ThoughtBlock,
    Turn,
)
from gateway.core.errors import BadRequest
from workers.protocol import MEDIUM

TemplateMessage = dict[str, Any]
Omitted = Callable[[MediaBlock], None]
"""Learns of each block for which a text stands."""


def rendered(
    turns: list[Turn], omitted: Omitted | None = None, senses: Senses = BLIND
) -> list[TemplateMessage]:
    """Return the messages of a conversation, one for each turn.

    Media that the model takes (``senses``) are parts of their messages. A text stands for others,
    which ``omitted`` hears of; those of the newest user turn are refused, for its author is there
    to hear of it. None: all are. Raises ContentNotSupported, or BadRequest for media that the model
    would take and that are not there.
    """
    last = range(len(turns) - 1, -1, -1)
    newest = next((at for at in last if turns[at].role == "user"), None)
    return [
        _message(each, None if at == newest else omitted, senses) for at, each in enumerate(turns)
    ]


def _message(turn: Turn, omitted: Omitted | None, senses: Senses) -> TemplateMessage:
    said: list[str | MediaOrigin] = []
    thoughts: list[str] = []
    calls: list[CallBlock] = []
    for block in turn.blocks:
        _sort(block, said, thoughts, calls, omitted, senses)
    found: TemplateMessage = {"role": turn.role, "content": _content(said)}
    if turn.name is not None:
        found["name"] = turn.name
    if thoughts:
        found["reasoning_content"] = "\n".join(thoughts)
    if calls:
        found["tool_calls"] = [_call(call) for call in calls]
    if turn.role == "tool":
        found["tool_call_id"] = turn.call_id
    return found


def _content(said: list[str | MediaOrigin]) -> str | list[dict[str, Any]]:
    texts = [each for each in said if isinstance(each, str)]
    if len(texts) == len(said):
        return texts[0] if len(texts) == 1 else "\n".join(text for text in texts if text)
    return [
        {"type": "text", "text": each}
        if isinstance(each, str)
        else {"type": MEDIUM, "source": each}
        for each in said
        if each
    ]


def _sort(
    block: AnyBlock,
    said: list[str | MediaOrigin],
    thoughts: list[str],
    calls: list[CallBlock],
    omitted: Omitted | None,
    senses: Senses,
) -> None:
    match block:
        case TextBlock():
            said.append(block.text)
        case ThoughtBlock():
            thoughts.append(block.text)
        case CallBlock():
            calls.append(block)
        case MediaBlock() if SENSES.get(block.kind) in senses:
            said.append(_source(block))
        case MediaBlock():
            said.append(_stand_in(block, omitted))


def _source(block: MediaBlock) -> MediaOrigin:
    """Return the place of the bytes. Raises BadRequest if there are none."""
    if block.source is not None:
        return block.source
    field = ".".join(map(str, block.path))
    raise BadRequest(f"'{field}': there is no {block.kind.thing} in it", param=field)


def _stand_in(block: MediaBlock, omitted: Omitted | None) -> str:
    """Return the text that stands for media. Raises ContentNotSupported."""
    kind = block.kind
    if omitted is None:
        field = block.field
        raise kind(f"'{field}': this model does not take {kind.things}", param=field)
    omitted(block)
    return f"[{kind.thing} omitted: this model does not take {kind.things}]"


def _call(call: CallBlock) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}
