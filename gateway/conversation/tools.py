"""The functions that a request offers to the model. Pure."""

from collections.abc import Sequence
from typing import Any, Literal

from gateway.core.errors import BadRequest
from workers.protocol import ToolUse

FUNCTION_NAME = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,256}$"
"""Of functions: what can be printed. Workers translate what a model's format can't carry."""
NO_PARAMETERS = {"type": "object", "properties": {}}


def function_tool(
    name: str,
    description: str | None = None,
    parameters: dict[str, Any] | None = None,
    strict: bool | None = None,
) -> dict[str, Any]:
    """Return a function as templates read it: with every field that OpenAI's examples have.

    Keywords of the schema that say nothing, such as ``"required": null``, are left out: templates
    go through what is required without a look whether it is a list.
    """
    known = {key: value for key, value in (parameters or {}).items() if value is not None}
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description or "",
            "parameters": known or NO_PARAMETERS,
            **({} if strict is None else {"strict": strict}),
        },
    }


def tool_use(
    tools: list[dict[str, Any]],
    mode: Literal["none", "auto", "required"] = "auto",
    allowed: Sequence[str] | None = None,
    *,
    parallel: bool = True,
) -> ToolUse | None:
    """Return the use of tools that :func:`function_tool` made; None if none may be called.

    ``allowed``: names of those that may be called now; None: all. Raises BadRequest for two of the
    same name, and for a choice that is not offered.
    """
    names: dict[str, None] = {}
    for tool in tools:
        name = tool["function"]["name"]
        if name in names:
            raise BadRequest(f"'tools': two functions have the name '{name}'", param="tools")
        names[name] = None
    missing = next((name for name in allowed or () if name not in names), None)
    if missing is not None:
        message = f"'tool_choice': no function '{missing}' among 'tools'"
        raise BadRequest(message, param="tool_choice")
    if mode == "required" and not names:
        raise BadRequest("'tool_choice': there are no 'tools' to call", param="tool_choice")
    if not names or mode == "none":
        return None
    return ToolUse(
        tools=tools,
        # Each once: workers tell them apart by their places.
        callable=[*(names if allowed is None else dict.fromkeys(allowed))],
        required=mode == "required",
        parallel=parallel,
    )
