"""The turns of a chat: texts, thoughts, calls and results.

A message that was answered once is part of every later request and can't be unsent, so whatever an
assistant, a tool or another server left in it is read as well as it can be. Only the newest user
message is refused for content that the model can't take: its author is there to hear of it.
"""

from collections.abc import Mapping
from typing import Any

from gateway.api.field_policy import IgnoredFields, asks_for_nothing, policy, unknown
from gateway.api.field_table import CALLS, MESSAGES, PARTS
from gateway.api.openai.calls import OpenCalls, legacy_call
from gateway.api.openai.media_parts import media_block
from gateway.api.openai.messages import AssistantMessage, Message, PastCall, ToolMessage
from gateway.api.openai.parts import THOUGHTS, OtherPart, Part, text_of, thought_of
from gateway.conversation import (
    BLIND,
    AnyBlock,
    CallBlock,
    MediaBlock,
    Role,
    Senses,
    TemplateMessage,
    TextBlock,
    ThoughtBlock,
    Turn,
    arguments,
    rendered,
    written,
)

OTHER_NAMES = ("reasoning", "thinking", "thinking_blocks", "reasoning_details")
"""Other servers' names for ``reasoning_content``, the plainest first."""
REPEATED = frozenset(("tool_use", "tool_call", "function_call", "server_tool_use"))
"""Parts that repeat a message's calls."""


def plain(
    messages: list[Message], ignored: IgnoredFields | None, senses: Senses = BLIND
) -> list[TemplateMessage]:
    """Return the messages as templates read them, of a model with these ``senses``.

    ``ignored`` learns of what is left out; None: that is refused. Raises UnknownParameter,
    ContentNotSupported, or BadRequest for values that are too deep.
    """
    omitted = None if ignored is None else ignored.omitted
    return rendered(_History(messages, ignored).turns(), omitted, senses)


class _History:
    """Reads the messages of one request, in their order."""

    def __init__(self, messages: list[Message], ignored: IgnoredFields | None) -> None:
        self._messages = messages
        self._ignored = ignored
        self._open = OpenCalls()
        """Calls of the last turn that made some."""

    def turns(self) -> list[Turn]:
        return [self._turn(at, each) for at, each in enumerate(self._messages)]

    def _turn(self, at: int, message: Message) -> Turn:
        # Told apart by their roles: isinstance is slow for pydantic's classes.
        if message.__pydantic_extra__:
            self._unknown(message.__pydantic_extra__, MESSAGES, "messages", at)
        if message.role == "assistant":
            return self._assistant(at, message)
        if message.role == "tool" or message.role == "function":
            return self._result(at, message)
        role: Role = "user" if message.role == "user" else "system"
        return Turn(role, self._blocks(at, message.content), name=message.name)

    def _assistant(self, at: int, message: AssistantMessage) -> Turn:
        content, extra = message.content, message.__pydantic_extra__
        thoughts: list[str] = []
        blocks = self._blocks(at, content, thoughts, bool(message.tool_calls)) if content else []
        if message.refusal and not any(not isinstance(b, TextBlock) or b.text for b in blocks):
            blocks = [TextBlock(message.refusal)]
        thought = message.reasoning_content
        if thought is None and (extra or thoughts):
            thought = _thought(extra or {}, thoughts)
        if thought is not None:
            blocks.append(ThoughtBlock(thought))
        calls = message.tool_calls
        if not calls and extra:
            calls = legacy_call(extra)
        if calls:
            blocks += self._calls(at, calls)
        return Turn("assistant", blocks, name=message.name)

    def _calls(self, at: int, calls: list[PastCall]) -> list[CallBlock]:
        """Return a turn's calls, all with ids: some templates insist on them."""
        self._open, made = OpenCalls(), list[CallBlock]()
        for index, call in enumerate(calls):
            function, id_ = call.function, call.id or f"call_{at}_{index}"
            path = ("messages", at, "tool_calls", index)
            if call.__pydantic_extra__:
                self._unknown(call.__pydantic_extra__, CALLS, *path)
            if function.__pydantic_extra__:
                self._unknown(function.__pydantic_extra__, CALLS, *path, "function")
            self._open.add(id_, function.name)
            given = arguments(function.arguments, (*path, "function", "arguments"))
            made.append(CallBlock(id_, function.name, given))
        return made

    def _result(self, at: int, message: ToolMessage) -> Turn:
        content = message.content or ""
        if isinstance(content, dict):
            content = written(content, ("messages", at, "content"))
        id_ = message.tool_call_id or self._open.first(message.name) or f"call_{at}"
        self._open.close(id_)
        return Turn("tool", self._blocks(at, content), id_, message.name)

    def _blocks(
        self,
        at: int,
        content: str | list[str | Part],
        thoughts: list[str] | None = None,
        called: bool = False,
    ) -> list[AnyBlock]:
        """Return the texts and media of a content.

        ``thoughts`` gets an assistant's. ``called``: the message has its calls elsewhere, too.
        """
        if isinstance(content, str):
            return [TextBlock(content)]
        blocks: list[AnyBlock] = []
        for index, part in enumerate(content):
            if thoughts is not None and isinstance(part, OtherPart) and part.type in THOUGHTS:
                thoughts.append(thought_of(part.model_extra or {}))
            elif not (called and isinstance(part, OtherPart) and part.type in REPEATED):
                blocks.append(self._block(part, "messages", at, "content", index))
        return blocks

    def _block(self, part: str | Part, *path: str | int) -> TextBlock | MediaBlock:
        """Return the block of a part."""
        text = text_of(part)
        if text is None:
            assert isinstance(part, OtherPart), "all others are texts"
            return media_block(part.type, part.model_extra or {}, path)
        if not isinstance(part, str | OtherPart) and part.model_extra:
            self._unknown(part.model_extra, PARTS, *path)
        return TextBlock(text)

    def _unknown(self, extra: Mapping[str, Any], place: str, *path: str | int) -> None:
        """Tell of the fields of an object that are not known. Raises UnknownParameter."""
        rules = policy(place)
        for name, value in extra.items():
            if name in rules.harmless or name in rules.mapped or asks_for_nothing(value, ()):
                continue
            if self._ignored is None:
                raise unknown(".".join((*map(str, path), name)))
            self._ignored.add(name, *path)


def _thought(extra: Mapping[str, Any], parts: list[str]) -> str | None:
    """Return an assistant's thought under another server's name, or in parts of its content."""
    for name in OTHER_NAMES:
        value = extra.get(name)
        if isinstance(value, str):
            found = value
        else:
            blocks = value if isinstance(value, list) else [value]
            texts = [thought_of(block) for block in blocks if isinstance(block, dict)]
            found = "\n".join(text for text in texts if text)
        if found:
            return found
    return "\n".join(text for text in parts if text) or None
