"""The functions that a chat offers to the model."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from gateway.api.field_table import TOOLS
from gateway.api.nested import Nested
from gateway.api.openai.messages import NAME
from gateway.api.schemas import Schema
from gateway.core.errors import BadRequest
from workers.protocol import ToolUse

MAX_TOOLS = 1024
"""Most functions of a request. Their text has to fit the context, which is a narrower bound."""

NOT_OBJECTS = ("array", "boolean", "integer", "null", "number", "string")

NO_PARAMETERS = {"type": "object", "properties": {}}

Name = Annotated[str, Field(pattern=NAME)]


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


def _without_nulls(parameters: dict[str, Any] | None) -> dict[str, Any]:
    """Return a schema without the keywords that say nothing, such as ``"required": null``.

    Templates go through what is required without a look whether it is a list.
    """
    return {name: value for name, value in (parameters or {}).items() if value is not None}


class Tool(Nested):
    place = TOOLS

    type: Literal["function"]
    function: FunctionTool

    def plain(self) -> dict[str, Any]:
        """The tool as templates read it: with every field that OpenAI's examples have."""
        function = self.function
        return {
            "type": "function",
            "function": {
                "name": function.name,
                "description": function.description or "",
                "parameters": _without_nulls(function.parameters) or NO_PARAMETERS,
                **({} if function.strict is None else {"strict": function.strict}),
            },
        }


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


def tool_use(
    tools: list[Tool] | None, choice: Choice | None, parallel: bool | None
) -> ToolUse | None:
    """Return the callable tools; None if none. Raises BadRequest if the choice is not offered."""
    names = _names(tools or [])
    required, allowed = _allowed([*names], choice)
    missing = next((name for name in allowed if name not in names), None)
    if missing is not None:
        message = f"'tool_choice': no function '{missing}' among 'tools'"
        raise BadRequest(message, param="tool_choice")
    if required and not allowed:
        raise BadRequest("'tool_choice': there are no 'tools' to call", param="tool_choice")
    if not tools or choice == "none":
        return None
    return ToolUse(
        tools=[tool.plain() for tool in tools],
        callable=allowed,
        required=required,
        parallel=parallel is not False and not isinstance(choice, NamedTool),
    )


def _names(tools: list[Tool]) -> dict[str, None]:
    """Return the functions' names. Raises BadRequest if two have the same."""
    names: dict[str, None] = {}
    for tool in tools:
        name = tool.function.name
        if name in names:
            raise BadRequest(f"'tools': two functions have the name '{name}'", param="tools")
        names[name] = None
    return names


def _allowed(names: list[str], choice: Choice | None) -> tuple[bool, list[str]]:
    """Return (if a call is required, the functions that may be called)."""
    if isinstance(choice, NamedTool):
        return True, [choice.function.name]
    if isinstance(choice, AllowedToolsChoice):
        allowed = choice.allowed_tools
        return allowed.mode == "required", [tool.function.name for tool in allowed.tools]
    return choice in ("required", "any"), names
