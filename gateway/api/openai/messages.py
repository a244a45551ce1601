"""The messages of a chat, as clients write them.

What is in them was said already and can't be unsent, so little is refused. How templates read them
is made by :mod:`gateway.api.openai.history`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.api.nested import Extensible
from gateway.api.openai.parts import Parts
from gateway.conversation import FUNCTION_NAME

MAX_CALLS = 1024
"""Most calls of one message."""

Content = str | Annotated[Parts, Field(min_length=1, fail_fast=True)]
MaybeEmpty = str | Annotated[Parts, Field(fail_fast=True)] | None


class SystemMessage(Extensible):
    role: Literal["system", "developer"]
    content: Content
    name: str | None = None


class UserMessage(Extensible):
    role: Literal["user"]
    content: Content
    name: str | None = None


class CalledFunction(Extensible):
    name: str = Field(pattern=FUNCTION_NAME)
    arguments: Any = None
    """JSON as text. An object is taken, too, and so is text that is no JSON."""


class PastCall(Extensible):
    id: str | None = None
    type: Literal["function"] | None = None
    function: CalledFunction


class AssistantMessage(Extensible):
    role: Literal["assistant"]
    content: MaybeEmpty = None
    refusal: str | None = None
    reasoning_content: str | None = None
    """The thought; `reasoning`, `thinking` and their lists of blocks are taken for it, too."""
    tool_calls: Annotated[list[PastCall], Field(max_length=MAX_CALLS, fail_fast=True)] | None = None
    name: str | None = None


class ToolMessage(Extensible):
    role: Literal["tool", "function"]
    """`function` is the older name, which names its function alone."""
    content: MaybeEmpty | dict[str, Any] = None
    """The result. An object is written as JSON."""
    tool_call_id: str | None = None
    """Without one it is the result of the first call that has none yet."""
    name: str | None = None


Message = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]
