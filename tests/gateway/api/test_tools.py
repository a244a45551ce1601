"""The functions that a chat offers, as workers get them."""

from typing import Any

import pytest

from gateway.api.openai.chat import ChatBody
from gateway.core.errors import BadRequest
from workers.protocol import ToolUse


def tool(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


def use(*tools: dict[str, Any], **fields: Any) -> ToolUse | None:
    messages = [{"role": "user", "content": "hi"}]
    return ChatBody.model_validate({"messages": messages, "tools": [*tools], **fields}).chat().tools


def test_any_is_required() -> None:
    for choice in ("any", "required"):
        found = use(tool("f"), tool("g"), tool_choice=choice)
        assert found is not None
        assert (found.required, found.callable) == (True, ["f", "g"])
    with pytest.raises(BadRequest) as caught:
        use(tool_choice="any")
    assert caught.value.param == "tool_choice"


def test_what_is_allowed_twice_is_callable_once() -> None:
    """Workers tell functions apart by their places in the list."""
    named = [tool(name) for name in ("f", "f", "g")]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": named}}
    found = use(tool("f"), tool("g"), tool("h"), tool_choice=choice)
    assert found is not None
    assert found.callable == ["f", "g"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"parameters": None},
        {"parameters": {}},
        {"parameters": {"required": None}},
        {"description": None, "strict": None},
    ],
    ids=str,
)
def test_a_tool_without_parameters(fields: dict[str, Any]) -> None:
    found = use(tool("f", **fields))
    assert found is not None
    nothing = {"type": "object", "properties": {}}
    assert found.tools == [tool("f", description="", parameters=nothing)]


def test_keywords_of_null_are_left_out() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    found = use(tool("f", parameters={**schema, "required": None, "additionalProperties": None}))
    assert found is not None
    assert found.tools == [tool("f", description="", parameters=schema)]


@pytest.mark.parametrize("kind", ["dict", ["object", "null"], {}, None, 5], ids=str)
def test_an_unknown_type_costs_no_request(kind: Any) -> None:
    found = use(tool("f", parameters={"type": kind, "properties": {"a": {}}}))
    assert found is not None
    assert found.callable == ["f"]


@pytest.mark.parametrize("name", ["a/b", "mcp:a.b", "a b", "ü", "x" * 256, "-", "/"], ids=str)
def test_names(name: str) -> None:
    found = use(tool(name))
    assert found is not None
    assert found.callable == [name]


@pytest.mark.parametrize("count", [129, 1024])
def test_many(count: int) -> None:
    names = [f"f{at}" for at in range(count)]
    allowed = {"mode": "auto", "tools": [tool(name) for name in reversed(names)]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    found = use(*map(tool, names), tool_choice=choice)
    assert found is not None
    assert found.callable == names[::-1]
    with pytest.raises(BadRequest) as caught:
        use(*map(tool, names[1:]), tool(names[1]))
    assert caught.value.param == "tools"
