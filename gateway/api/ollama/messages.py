"""The messages of a chat, as Ollama's clients write them."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gateway.api.field_table import TOOLS
from gateway.api.nested import Extensible, Nested
from gateway.api.openai.calls import OpenCalls
from gateway.api.openai.messages import MAX_CALLS, PastCall
from gateway.api.openai.tools import MAX_TOOLS, FunctionTool
from gateway.conversation import (
    BLIND,
    AnyBlock,
    CallBlock,
    MediaBlock,
    MediaOrigin,
    Role,
    Senses,
    TextBlock,
    ThoughtBlock,
    Turn,
    arguments,
    function_tool,
)
from gateway.core.errors import ImageNotSupported

LONGEST_ROLE = 16
"""Characters of a role that may be a known one."""


def _lower(role: Any) -> Any:
    return role.lower() if isinstance(role, str) and len(role) <= LONGEST_ROLE else role


class OllamaMessage(Extensible):
    role: Annotated[
        Literal["system", "developer", "user", "assistant", "tool"], BeforeValidator(_lower)
    ]
    """In letters of either case."""
    content: str | None = None
    thinking: str | None = None
    """The thought of an earlier answer."""
    images: list[Any] | None = None
    """Pictures in base64. Where the model takes none, a text stands for those that came earlier."""
    tool_calls: Annotated[list[PastCall], Field(max_length=MAX_CALLS, fail_fast=True)] | None = None
    """Earlier calls. Those without an id are told apart by their places."""
    tool_name: str | None = None
    """Of the role `tool`: the function that was called."""
    tool_call_id: str | None = None
    """Of the role `tool`: the call. Without it, and without a name, it is the first open one."""


class OllamaTool(Nested):
    place = TOOLS

    type: str | None = None
    function: FunctionTool

    def plain(self) -> dict[str, Any]:
        """Return the tool as templates read it."""
        given = self.function
        return function_tool(given.name, given.description, given.parameters, given.strict)


OllamaTools = Annotated[list[OllamaTool], Field(max_length=MAX_TOOLS, fail_fast=True)]


def turns(messages: list[OllamaMessage], senses: Senses = BLIND) -> list[Turn]:
    """Return the turns of a conversation. Raises BadRequest for arguments that are too deep.

    Pictures come before the text of their message, as Ollama has them; where the model takes none
    (``senses``), what stands for them comes after it.
    """
    found, open_ = list[Turn](), OpenCalls()
    for at, message in enumerate(messages):
        if message.role == "tool":
            found.append(_result(at, message, open_, senses))
        elif message.role == "assistant":
            calls = _calls(at, message)
            if calls:
                open_ = OpenCalls()
                for call in calls:
                    open_.add(call.id, call.name)
            thought = [ThoughtBlock(message.thinking)] if message.thinking else []
            found.append(Turn("assistant", [*thought, *_said(at, message, senses), *calls]))
        else:
            role: Role = "user" if message.role == "user" else "system"
            found.append(Turn(role, _said(at, message, senses)))
    return found


def _said(at: int, message: OllamaMessage, senses: Senses) -> list[AnyBlock]:
    """Return a message's text and its pictures."""
    text = TextBlock(message.content or "")
    seen = pictures(message.images, ("messages", at, "images"))
    return [*seen, text] if "image" in senses else [text, *seen]


def pictures(images: list[Any] | None, path: tuple[str | int, ...]) -> list[MediaBlock]:
    """Return the blocks of a list of pictures, which is at ``path``."""
    return [_picture(each, (*path, index)) for index, each in enumerate(images or ())]


def _picture(image: Any, path: tuple[str | int, ...]) -> MediaBlock:
    source = None
    if isinstance(image, str) and image:
        source = MediaOrigin("image", image, ".".join(map(str, path)))
    return MediaBlock(ImageNotSupported, path, typed=False, source=source)


def _calls(at: int, message: OllamaMessage) -> list[CallBlock]:
    """Return a message's calls, all with ids: some templates insist on them."""
    found: list[CallBlock] = []
    for index, call in enumerate(message.tool_calls or ()):
        path = ("messages", at, "tool_calls", index, "function", "arguments")
        given = arguments(call.function.arguments, path)
        found.append(CallBlock(call.id or f"call_{at}_{index}", call.function.name, given))
    return found


def _result(at: int, message: OllamaMessage, open_: OpenCalls, senses: Senses) -> Turn:
    """Return the result of a call: of the one it names, or the first that has none yet."""
    by_place = open_.first(message.tool_name) or open_.first(None)
    id_ = message.tool_call_id or by_place or f"call_{at}"
    open_.close(id_)
    return Turn("tool", _said(at, message, senses), id_, message.tool_name)
