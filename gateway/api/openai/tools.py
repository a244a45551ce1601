"""The functions that a chat offers to the model."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from gateway.api.field_table import TOOLS
from gateway.api.nested import Nested
from gateway.api.schemas import Schema
from gateway.conversation import FUNCTION_NAME, function_tool, tool_use
from workers.protocol import ToolUse

MAX_TOOLS = 1024
"""Most functions of a request. Their text has to fit the context, which is a narrower bound."""

NOT_OBJECTS = ("array", "boolean", "integer", "null", "number", "string")

Name = Annotated[str, Field(pattern=FUNCTION_NAME)]


class FunctionTool(Nested):
    place = TOOLS

    name: Name
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None

    @field_validator("parameters")
    @classmethod
    def _object(cls, parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        """Arguments have names: every format writes them as an object."""
        if parameters is not None and parameters.get("type") in NOT_OBJECTS:
            raise PydanticCustomError("not_object", "it must be a schema of the type 'object'")
        return parameters


class Tool(Nested):
    place = TOOLS

    type: Literal["function"]
    function: FunctionTool

    def plain(self) -> dict[str, Any]:
        """Return the tool as templates read it."""
        given = self.function
        return function_tool(given.name, given.description, given.parameters, given.strict)


class NamedFunction(Nested):
    name: Name


class NamedTool(Nested):
    type: Literal["function"]
    function: NamedFunction


class AllowedTools(Nested):
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=MAX_TOOLS, fail_fast=True)]


class AllowedToolsChoice(Nested):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


Tools = Annotated[list[Tool], Field(max_length=MAX_TOOLS, fail_fast=True)]
Choice = (
    Literal["none", "auto", "required", "any"]
    | Annotated[NamedTool | AllowedToolsChoice, Field(discriminator="type")]
)


def chosen(
    tools: list[Tool] | None, choice: Choice | None, parallel: bool | None
) -> ToolUse | None:
    """Return the callable tools; None if none. Raises BadRequest if the choice is not offered."""
    plain = [tool.plain() for tool in tools or []]
    at_once = parallel is not False
    match choice:
        case NamedTool():
            return tool_use(plain, "required", [choice.function.name], parallel=False)
        case AllowedToolsChoice():
            allowed = choice.allowed_tools
            names = [tool.function.name for tool in allowed.tools]
            return tool_use(plain, allowed.mode, names, parallel=at_once)
        case "none":
            return tool_use(plain, "none")
    return tool_use(
        plain, "required" if choice in ("required", "any") else "auto", parallel=at_once
    )
