"""Items as the turns that templates read."""

from typing import Any

import pytest

from gateway.api.field_policy import IgnoredFields
from gateway.api.responses.items import given_items, named, turns
from gateway.api.responses.thoughts import sealed
from gateway.conversation import gathered, rendered
from gateway.core.errors import BadRequest


def read(*items: dict[str, Any]) -> list[dict[str, Any]]:
    return rendered(gathered(turns(items, 0, IgnoredFields())), lambda block: None)


def call(name: str, id_: str, **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": id_, "name": name, "arguments": "{}", **more}


def result(id_: str, output: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id_, "output": output}


def test_a_thought_a_text_and_calls_are_one_turn() -> None:
    messages = read(
        {"role": "user", "content": "look"},
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}], "summary": []},
        {"role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        call("look", "a"),
        call("find", "b", namespace="space"),
        result("a", "seen"),
        result("b", [{"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}]),
    )
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool"]
    turn = messages[1]
    assert (turn["content"], turn["reasoning_content"]) == ("I look.", "hm")
    assert [made["function"]["name"] for made in turn["tool_calls"]] == ["look", "space__find"]
    assert [message["content"] for message in messages[2:]] == ["seen", "one\ntwo"]
    assert [message["tool_call_id"] for message in messages[2:]] == ["a", "b"]


@pytest.mark.parametrize(
    ("item", "thought"),
    [
        ({"encrypted_content": sealed("secret")}, "secret"),
        ({"encrypted_content": sealed("mine"), "summary": [{"text": "less"}]}, "mine"),
        ({"encrypted_content": "gAAAAAB", "summary": [{"text": "theirs"}]}, "theirs"),
        ({"content": None, "summary": []}, None),
        ({"content": [{"text": "a"}, {"text": "b"}]}, "a\nb"),
        ({"content": "text", "summary": None, "encrypted_content": 7}, None),
    ],
)
def test_a_thought_comes_back(item: dict[str, Any], thought: str | None) -> None:
    (turn,) = read({"type": "reasoning", **item}, {"role": "assistant", "content": "yes"})
    assert turn.get("reasoning_content") == thought


def test_a_custom_tools_text_is_its_only_argument() -> None:
    item = {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": 'a "b"\n'}
    (turn,) = read(item)
    assert turn["tool_calls"][0]["function"] == {
        "name": "patch",
        "arguments": {"input": 'a "b"\n'},
    }


@pytest.mark.parametrize(
    ("item", "name", "arguments", "output"),
    [
        (
            {"type": "local_shell_call", "call_id": "c", "action": {"command": ["ls"]}},
            "local_shell",
            {"command": ["ls"]},
            None,
        ),
        (
            {"type": "apply_patch_call", "call_id": "c", "operation": {"type": "delete_file"}},
            "apply_patch",
            {"type": "delete_file"},
            None,
        ),
        (
            {"type": "mcp_call", "id": "c", "name": "add", "arguments": '{"a": 1}', "output": "2"},
            "add",
            {"a": 1},
            "2",
        ),
        (
            {"type": "tool_search_call", "id": "c", "arguments": [1]},
            "tool_search",
            {"input": [1]},
            None,
        ),
    ],
)
def test_other_kinds_of_calls_are_read_as_calls(
    item: dict[str, Any], name: str, arguments: Any, output: str | None
) -> None:
    turn, *results = read(item)
    (made,) = turn["tool_calls"]
    assert (made["id"], made["function"]) == ("c", {"name": name, "arguments": arguments})
    assert [message["content"] for message in results] == ([] if output is None else [output])


def test_what_says_nothing_is_left_out_and_named() -> None:
    ignored = IgnoredFields()
    items = [{"type": "from_next_year"}, {"type": "compaction", "encrypted_content": "x"}]
    assert turns(items, 0, ignored) == []
    assert ignored.header({"input": items}) == "input.0.type, input.1.type"
    earlier = IgnoredFields()
    turns(items, 1, earlier)
    assert earlier.header({"input": items[1:]}) == "input.0.type"


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"role": "robot", "content": "x"}, "input.0.role"),
        ({"role": "user"}, "input.0.content"),
        ({"role": "user", "content": [7]}, "input.0.content.0"),
        ({"type": "function_call", "call_id": "c", "name": "a\n"}, "input.0.name"),
        ({"type": "function_call", "call_id": "c" * 257, "name": "a"}, "input.0.call_id"),
    ],
)
def test_an_item_that_makes_no_sense_is_named(item: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(item)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ([{"stdout": "a.py\n", "stderr": ""}], '{"stdout":"a.py\\n","stderr":""}'),
        ([{"stdout": "a"}, {"text": "b"}, "c"], '{"stdout":"a"}\nb\nc'),
        ([1, 2], "[1,2]"),
        (7, "7"),
        ({"type": "circle", "radius": 3}, '{"type":"circle","radius":3}'),
        ({"type": ["x"]}, '{"type":["x"]}'),
        (
            {"type": "computer_screenshot", "image_url": "data:image/png;base64,AAAA"},
            "[image omitted: this model does not take images]",
        ),
        (None, ""),
    ],
)
def test_a_result_in_any_form_is_read(output: Any, text: str) -> None:
    """Output of a shell or a tool is never lost, and a picture is no text."""
    (message,) = read({"type": "shell_call_output", "call_id": "c", "output": output})
    assert (message["role"], message["content"]) == ("tool", text)


def test_a_result_that_is_too_deep_is_refused() -> None:
    deep: Any = {}
    for _ in range(100):
        deep = {"a": deep}
    with pytest.raises(BadRequest, match="nested"):
        read(result("c", deep))


def test_instructions_in_the_middle_stay_where_they_are() -> None:
    messages = read(
        {"role": "developer", "content": "be"},
        {"role": "user", "content": "x"},
        {"role": "system", "content": "remember"},
        {"role": "user", "content": "y"},
    )
    assert [(m["role"], m["content"]) for m in messages] == [
        ("system", "be"),
        ("user", "x"),
        ("system", "remember"),
        ("user", "y"),
    ]


def test_items_get_ids_that_stay() -> None:
    items = [
        *given_items("hi"),
        call("look", "a"),
        {"role": "assistant", "content": "yes", "id": "m"},
    ]
    found = named(items, "abc")
    assert [item["id"] for item in found] == ["msg_abci00", "fc_abci01", "m"]
    assert named(found, "other") == found
    assert found[0]["content"] == [{"type": "input_text", "text": "hi"}]
    assert found[2]["content"] == [{"type": "output_text", "text": "yes", "annotations": []}]


def test_ids_that_come_twice_or_are_too_long_are_given_anew() -> None:
    """Or pages of items would go round in circles."""
    items = [{"role": "user", "content": "x", "id": id_} for id_ in ("a", "a", "b" * 257, "\n", 7)]
    ids = [item["id"] for item in named(items, "abc")]
    assert ids == ["a", "msg_abci01", "msg_abci02", "msg_abci03", "msg_abci04"]
