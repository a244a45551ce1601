"""The messages of a chat, as clients write them and as templates read them."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.api.nested import Nested

NAME = r"^[a-zA-Z0-9_.-]{1,64}$"
"""Of functions; MCP servers like dots."""


class TextPart(Nested):
    type: Literal["text"]
    text: str


class RefusalPart(Nested):
    type: Literal["refusal"]
    refusal: str


Parts = Annotated[list[TextPart], Field(min_length=1, fail_fast=True)]
Content = str | Parts


class SystemMessage(Nested):
    role: Literal["system", "developer"]
    content: Content
    name: str | None = None

    def plain(self) -> dict[str, Any]:
        """The message as templates read it, which know OpenAI's newer name as "system"."""
        return {"role": "system", "content": _text(self.content), **_named(self.name)}


class UserMessage(Nested):
    role: Literal["user"]
    content: Content
    name: str | None = None

    def plain(self) -> dict[str, Any]:
        return {"role": "user", "content": _text(self.content), **_named(self.name)}


class CalledFunction(Nested):
    name: str = Field(pattern=NAME)
    arguments: str

    @model_validator(mode="after")
    def _json(self) -> "CalledFunction":
        """Templates and parsers of models want an object; every API writes it as a string."""
        try:
            found = orjson.loads(self.arguments or "{}")
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise PydanticCustomError("not_json", "arguments should be a JSON object in a string")
        return self


class PastCall(Nested):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class AssistantMessage(Nested):
    role: Literal["assistant"]
    content: (
        str | Annotated[list[TextPart | RefusalPart], Field(min_length=1, fail_fast=True)] | None
    ) = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: Annotated[list[PastCall], Field(max_length=128, fail_fast=True)] | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "AssistantMessage":
        if self.content is None and not self.tool_calls and self.refusal is None:
            message = "an assistant message needs 'content' or 'tool_calls'"
            raise PydanticCustomError("empty_message", message)
        return self

    def plain(self) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": self._said(),
            **_named(self.name),
        }
        if self.reasoning_content is not None:
            message["reasoning_content"] = self.reasoning_content
        if self.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {
                        "name": call.function.name,
                        "arguments": orjson.loads(call.function.arguments or "{}"),
                    },
                }
                for call in self.tool_calls
            ]
        return message

    def _said(self) -> str:
        if isinstance(self.content, list):
            return "".join(
                part.text if isinstance(part, TextPart) else part.refusal for part in self.content
            )
        return self.content or self.refusal or ""


class ToolMessage(Nested):
    role: Literal["tool"]
    content: Content
    tool_call_id: str

    def plain(self) -> dict[str, Any]:
        return {
            "role": "tool",
            "content": _text(self.content),
            "tool_call_id": self.tool_call_id,
        }


Message = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


def _text(content: Content) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _named(name: str | None) -> dict[str, str]:
    return {} if name is None else {"name": name}
