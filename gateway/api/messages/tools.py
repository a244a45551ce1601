"""The tools of a request: those that a client runs, and how free the model is to call them."""

import re
from typing import Any, Literal

from gateway.api.nested import Extensible
from gateway.api.schemas import Schema
from gateway.conversation import FUNCTION_NAME, function_tool, tool_use
from gateway.core.errors import BadRequest
from workers.protocol import ToolUse

OWN = (None, "custom")
"""Types of tools that the client runs; the others' are names with a date, of Anthropic's."""


class GivenTool(Extensible):
    name: str | None = None
    description: str | None = None
    input_schema: Schema | None = None
    type: str | None = None
    """`custom`, or a server tool's, which is left out unless it has a schema."""

    @property
    def runs_here(self) -> bool:
        """Return whether the client runs it."""
        return self.type in OWN or self.input_schema is not None


class ToolChoice(Extensible):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    """Of the type `tool`: the function to call."""
    disable_parallel_tool_use: bool | None = None
    """True: one call at most."""


def chosen(tools: list[GivenTool] | None, choice: ToolChoice | None) -> ToolUse | None:
    """Return the callable tools; None if none. Raises BadRequest if the choice is not offered."""
    plain = [_plain(tool, at) for at, tool in enumerate(tools or ()) if tool.runs_here]
    if choice is None or choice.type == "none":
        return tool_use(plain, "auto" if choice is None else "none")
    parallel = choice.disable_parallel_tool_use is not True
    if choice.type == "tool":
        if choice.name is None:
            raise BadRequest("'tool_choice.name' is required", param="tool_choice.name")
        return tool_use(plain, "required", [choice.name], parallel=False)
    return tool_use(plain, "required" if choice.type == "any" else "auto", parallel=parallel)


def _plain(tool: GivenTool, at: int) -> dict[str, Any]:
    """Return a tool as templates read it. Raises BadRequest."""
    field = f"tools.{at}"
    if tool.name is None:
        raise BadRequest(f"'{field}.name' is required", param=f"{field}.name")
    if not re.fullmatch(FUNCTION_NAME, tool.name):
        message = f"'{field}.name' should have 1 to 256 characters that can be printed"
        raise BadRequest(message, param=f"{field}.name")
    schema = tool.input_schema
    if schema is not None and schema.get("type", "object") != "object":
        param = f"{field}.input_schema"
        raise BadRequest(f"'{param}': it must be a schema of the type 'object'", param=param)
    return function_tool(tool.name, tool.description, schema)
