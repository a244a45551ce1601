"""The tools of a request as workers get them."""

from typing import Any

import pytest

from gateway.api.body_context import BodyContext
from gateway.api.field_policy import IgnoredFields
from gateway.api.responses.body import InputBody
from gateway.api.responses.tools import declarations, table, tool_use
from gateway.core.errors import BadRequest
from workers.protocol import Grammar, ToolUse

PATCH = {
    "type": "custom",
    "name": "patch",
    "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "x"'},
}
SPACE = {"type": "namespace", "name": "space", "tools": [{"type": "function", "name": "find"}]}
TOOLS = [{"type": "function", "name": "look"}, PATCH, SPACE]


def use(choice: Any = None, parallel: bool | None = None, tools: Any = TOOLS) -> ToolUse | None:
    ignored = IgnoredFields()
    given = InputBody.model_validate(
        {"tools": tools, "tool_choice": choice}, context=BodyContext(ignored)
    )
    found = table(declarations([("tools", given.tools)]), ignored)
    return tool_use(found, given.tool_choice, parallel, ignored)


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "name": name} for name in names]
    return {"type": "allowed_tools", "mode": mode, "tools": tools}


@pytest.mark.parametrize(
    ("choice", "required", "callable_"),
    [
        (None, False, ["look", "patch", "space__find"]),
        ("required", True, ["look", "patch", "space__find"]),
        ({"type": "function", "name": "find"}, True, ["space__find"]),
        (allowed("auto", "patch", "look"), False, ["patch", "look"]),
        (allowed("required", "look", "look", "patch"), True, ["look", "patch"]),
        ({"type": "web_search"}, False, ["look", "patch", "space__find"]),
    ],
)
def test_a_choice_is_what_may_be_called(choice: Any, required: bool, callable_: list[str]) -> None:
    """Each once: workers tell functions apart by their places in the list."""
    found = use(choice)
    assert found is not None
    assert (found.required, found.callable) == (required, callable_)
    assert found.grammars == {"patch": Grammar('start: "x"', "tools.1.format.definition")}
    assert [tool["function"]["name"] for tool in found.tools] == ["look", "patch", "space__find"]


def test_a_certain_tool_is_called_once() -> None:
    for choice, parallel, wanted in (
        (None, None, True),
        (None, False, False),
        ({"type": "custom", "name": "patch"}, True, False),
    ):
        found = use(choice, parallel)
        assert found is not None
        assert found.parallel == wanted


def test_nothing_to_call() -> None:
    assert use("none") is None
    assert use(tools=[{"type": "web_search"}]) is None
    for choice in ("required", allowed("required", "other")):
        with pytest.raises(BadRequest, match="tool_choice"):
            use(choice, tools=[{"type": "web_search"}])


def test_tools_that_items_bring_take_the_place_of_older_ones() -> None:
    """They come again with every request, and may have changed meanwhile."""
    newer = {"type": "function", "name": "look", "description": "newer"}
    form = {**PATCH, "format": {"type": "text"}}
    lists: list[tuple[str, Any]] = [
        ("tools", InputBody.model_validate({"tools": TOOLS}).tools),
        ("input.1.tools", [newer, {"type": "function", "name": "more"}]),
        ("input.3.tools", [newer, form, {"type": "web_search"}]),
    ]
    ignored = IgnoredFields()
    found = table(declarations(lists), ignored)
    assert found.paths == [
        "input.3.tools.0",
        "input.3.tools.1",
        "tools.2.tools.0",
        "input.1.tools.1",
    ]
    use = tool_use(found, None, None, ignored)
    assert use is not None
    assert use.callable == ["look", "patch", "space__find", "more"]
    assert use.tools[0]["function"]["description"] == "newer"
    assert use.grammars == {}
    assert ignored.header({}) == "input.3.tools.2.type"
    with pytest.raises(BadRequest, match="two tools") as caught:
        table(declarations([("tools", InputBody.model_validate({"tools": TOOLS * 2}).tools)]), None)
    assert caught.value.param == "tools.3"
    with pytest.raises(BadRequest) as caught:
        table(declarations([("input.0.tools", [{"type": "function"}])]), None)
    assert caught.value.param is not None
    assert caught.value.param.startswith("input.0.tools.0")
