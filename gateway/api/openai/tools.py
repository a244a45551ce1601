"""The functions that a chat offers to the model."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from gateway.api.nested import Nested
from gateway.api.openai.messages import NAME
from gateway.api.schemas import Schema
from gateway.core.errors import BadRequest
from workers.protocol import ToolUse

MAX_TOOLS = 128

Name = Annotated[str, Field(pattern=NAME)]


class FunctionTool(Nested):
    name: Name
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None

    @field_validator("parameters")
    @classmethod
    def _object(cls, parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        """Arguments have names: every format writes them as an object."""
        if parameters is not None and parameters.get("type", "object") != "object":
            raise PydanticCustomError("not_object", "it must be a schema of the type 'object'")
        return parameters


class Tool(Nested):
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
                "parameters": function.parameters or {"type": "object", "properties": {}},
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
    Literal["none", "auto", "required"]
    | Annotated[NamedTool | AllowedToolsChoice, Field(discriminator="type")]
)


def tool_use(
    tools: list[Tool] | None, choice: Choice | None, parallel: bool | None
) -> ToolUse | None:
    """Return the callable tools; None if none. Raises BadRequest if the choice is not offered."""
    names = [tool.function.name for tool in tools or []]
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise BadRequest(f"'tools': two functions have the name '{twice}'", param="tools")
    required, allowed = _allowed(names, choice)
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


def _allowed(names: list[str], choice: Choice | None) -> tuple[bool, list[str]]:
    """Return (if a call is required, the functions that may be called)."""
    if isinstance(choice, NamedTool):
        return True, [choice.function.name]
    if isinstance(choice, AllowedToolsChoice):
        allowed = choice.allowed_tools
        return allowed.mode == "required", [tool.function.name for tool in allowed.tools]
    return choice == "required", names
