"""A conversation as templates read it: texts, thoughts, calls and results.

A message that was answered once is part of every later request and can't be unsent, so whatever an
assistant, a tool or another server left in it is read as well as it can be. Only the newest user
message is refused for content that the model can't take: its author is there to hear of it.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from gateway.api.field_policy import IgnoredFields, asks_for_nothing, policy, unknown
from gateway.api.field_table import CALLS, MESSAGES, PARTS
from gateway.api.openai.calls import OpenCalls, arguments, legacy_call, written
from gateway.api.openai.messages import AssistantMessage, Message, PastCall, ToolMessage
from gateway.api.openai.parts import MEDIA, THOUGHTS, OtherPart, Part, text_of, thought_of
from gateway.core.errors import ContentNotSupported

OTHER_NAMES = ("reasoning", "thinking", "thinking_blocks", "reasoning_details")
"""Other servers' names for ``reasoning_content``, the plainest first."""
REPEATED = frozenset(("tool_use", "tool_call", "function_call", "server_tool_use"))
"""Parts that repeat a message's calls."""

Plain = dict[str, Any]


def plain(messages: list[Message], ignored: IgnoredFields | None) -> list[Plain]:
    """Return the messages as templates read them.

    ``ignored`` learns of what is left out; None: that is refused. Raises UnknownParameter,
    ContentNotSupported, or BadRequest for values that are too deep.
    """
    return _History(messages, ignored).plain()


class _History:
    """Reads the messages of one request, in their order."""

    def __init__(self, messages: list[Message], ignored: IgnoredFields | None) -> None:
        self._messages = messages
        self._ignored = ignored
        self._open = OpenCalls()
        """Those of the last turn that made some."""

    def plain(self) -> list[Plain]:
        return [self._message(at, each) for at, each in enumerate(self._messages)]

    def _message(self, at: int, message: Message) -> Plain:
        # Told apart by their roles: isinstance is slow for pydantic's classes.
        if message.__pydantic_extra__:
            self._unknown(message.__pydantic_extra__, MESSAGES, "messages", at)
        if message.role == "assistant":
            return self._assistant(at, message)
        if message.role == "tool" or message.role == "function":
            return self._result(at, message)
        content = message.content
        if isinstance(content, list):
            content = self._text(at, content)
        return _message("user" if message.role == "user" else "system", content, message.name)

    def _assistant(self, at: int, message: AssistantMessage) -> Plain:
        content, extra = message.content, message.__pydantic_extra__
        thoughts: list[str] = []
        if isinstance(content, list):
            content = self._text(at, content, thoughts, bool(message.tool_calls))
        found = _message("assistant", content or message.refusal or "", message.name)
        thought = message.reasoning_content
        if thought is None and (extra or thoughts):
            thought = _thought(extra or {}, thoughts)
        if thought is not None:
            found["reasoning_content"] = thought
        calls = message.tool_calls
        if not calls and extra:
            calls = legacy_call(extra)
        if calls:
            found["tool_calls"] = self._calls(at, calls)
        return found

    def _calls(self, at: int, calls: list[PastCall]) -> list[Plain]:
        """Return a turn's calls, all with ids: some templates insist on them."""
        self._open, made = OpenCalls(), []
        for index, call in enumerate(calls):
            function, id_ = call.function, call.id or f"call_{at}_{index}"
            path = ("messages", at, "tool_calls", index)
            if call.__pydantic_extra__:
                self._unknown(call.__pydantic_extra__, CALLS, *path)
            if function.__pydantic_extra__:
                self._unknown(function.__pydantic_extra__, CALLS, *path, "function")
            self._open.add(id_, function.name)
            given = arguments(function.arguments, path)
            written_call = {"name": function.name, "arguments": given}
            made.append({"id": id_, "type": "function", "function": written_call})
        return made

    def _result(self, at: int, message: ToolMessage) -> Plain:
        content = message.content or ""
        if isinstance(content, dict):
            content = written(content, ("messages", at, "content"))
        elif not isinstance(content, str):
            content = self._text(at, content)
        id_ = message.tool_call_id or self._open.first(message.name) or f"call_{at}"
        self._open.close(id_)
        return {**_message("tool", content, message.name), "tool_call_id": id_}

    def _text(
        self,
        at: int,
        content: list[str | Part],
        thoughts: list[str] | None = None,
        called: bool = False,
    ) -> str:
        """Return the texts of a content, each on lines of its own.

        ``thoughts`` gets an assistant's. ``called``: the message has its calls elsewhere, too.
        """
        texts = []
        for index, part in enumerate(content):
            if thoughts is not None and isinstance(part, OtherPart) and part.type in THOUGHTS:
                thoughts.append(thought_of(part.model_extra or {}))
            elif not (called and isinstance(part, OtherPart) and part.type in REPEATED):
                text = text_of(part)
                if text is None:
                    text = self._omitted(at, index, part)
                elif not isinstance(part, str | OtherPart) and part.model_extra:
                    place = ("messages", at, "content", index)
                    self._unknown(part.model_extra, PARTS, *place)
                texts.append(text)
        return "\n".join(text for text in texts if text)

    def _omitted(self, at: int, index: int, part: str | Part) -> str:
        """Return what stands for a part that is no text. Raises ContentNotSupported."""
        assert isinstance(part, OtherPart), "all others are texts"
        kind = MEDIA.get(part.type, ContentNotSupported)
        if at == self._newest or self._ignored is None:
            field = f"messages.{at}.content.{index}.type"
            raise kind(f"'{field}': this model does not take {kind.things}", param=field)
        self._ignored.add(str(index), "messages", at, "content")
        return f"[{kind.thing} omitted: this model does not take {kind.things}]"

    @cached_property
    def _newest(self) -> int | None:
        """Return the place of the newest user message."""
        places = range(len(self._messages) - 1, -1, -1)
        return next((at for at in places if self._messages[at].role == "user"), None)

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


def _message(role: str, content: str, name: str | None) -> Plain:
    found: Plain = {"role": role, "content": content}
    if name is not None:
        found["name"] = name
    return found
