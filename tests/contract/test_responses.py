"""OpenAI's Responses: what holds whatever the model says."""

import json
from typing import Any

import httpx
import pytest

from gateway.config.api_keys import Keyring, digest
from gateway.config.config import Config
from gateway.core.api_key import ApiKey
from tests.support.dialects import RESPONSES, data_of
from tests.support.front import blocking_front
from tests.support.server import ALIAS

PATH = RESPONSES.path
ITEMS = [
    {"role": "user", "content": "hi"},
    {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "be"}]},
    {"role": "assistant", "content": "plain"},
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "phase": "final_answer",
        "content": [{"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}],
    },
    {"role": "assistant", "content": [{"type": "input_text", "text": "odd"}]},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAAB"},
    {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "hm"}]},
    {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at": 1}'},
    {"type": "function_call", "call_id": "call_2", "name": "look", "arguments": "half {"},
    {"type": "function_call_output", "call_id": "call_1", "output": "seen"},
    {
        "type": "function_call_output",
        "call_id": "call_2",
        "output": [
            {"type": "input_text", "text": "a picture"},
            {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
        ],
    },
    {"type": "custom_tool_call", "call_id": "call_3", "name": "patch", "input": "*** Begin"},
    {"type": "custom_tool_call_output", "call_id": "call_3", "output": "done"},
    {"type": "local_shell_call", "id": "l", "call_id": "c", "action": {"command": ["ls"]}},
    {"type": "local_shell_call_output", "call_id": "c", "output": "a.py"},
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "x"}},
    {"type": "mcp_call", "id": "m", "name": "f", "arguments": "{}", "output": "ok"},
    {"type": "compaction", "encrypted_content": "gAAAA"},
    {"type": "from_next_year", "depth": {"a": [1]}},
]


def post(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post(PATH, json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def events(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = response.text.splitlines()
    found = [json.loads(data) for data in data_of(iter(lines))]
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert names == [event["type"] for event in found]
    assert not any("error" in event for event in found)  # OpenAI's client takes it for a failure
    return found


def test_every_kind_of_item_gets_an_answer(answering: httpx.Client) -> None:
    for end in range(1, len(ITEMS) + 1):
        assert post(answering, input=ITEMS[:end])["status"] == "completed"
    for item in ITEMS:
        response = answering.post(
            PATH, json={"input": [ITEMS[0], item, {"role": "user", "content": "?"}]}
        )
        assert response.status_code == 200, (item, response.text)


@pytest.mark.parametrize(
    "kind", ["input_image", "input_file", "input_audio", "input_video", "from_next_year"]
)
def test_a_picture_in_the_newest_message_is_refused_by_name(
    answering: httpx.Client, kind: str
) -> None:
    content = [{"type": "input_text", "text": "see"}, {"type": kind, "image_url": "data:,x"}]
    message = {"role": "user", "content": content}
    failure = RESPONSES.refusal(answering.post(PATH, json={"input": [message]}))
    assert failure.status == 400
    assert failure.param == "input.0.content.1.type"
    later = [message, {"role": "user", "content": "and?"}]
    response = answering.post(PATH, json={"input": later})
    assert response.status_code == 200
    assert "input.0.content.1" in response.headers["x-ignored-parameters"]


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search"},
        {"type": "image_generation", "output_format": "png"},
        {"type": "local_shell"},
        {"type": "mcp", "server_label": "x", "server_url": "https://x.example"},
        {"type": "from_next_year"},
    ],
)
def test_a_hosted_tool_is_left_out_and_named(answering: httpx.Client, tool: dict[str, Any]) -> None:
    look = {"type": "function", "name": "look", "parameters": {"type": "object"}}
    response = answering.post(PATH, json={"input": "x", "tools": [look, tool]})
    assert response.status_code == 200
    assert response.headers["x-ignored-parameters"] == "tools.1.type"
    assert response.json()["tools"] == [look, tool]


def test_unknown_fields_are_ignored_and_named(answering: httpx.Client) -> None:
    body = {"input": "x", "new_field": {"a": 1}, "client_metadata": {"a": "b"}}
    response = answering.post(PATH, json=body)
    assert response.status_code == 200
    assert response.headers["x-ignored-parameters"] == "new_field"


@pytest.mark.parametrize("tier", ["auto", "default", "flex", "scale", "fast", "ultrafast", "new"])
def test_every_service_tier_is_taken(answering: httpx.Client, tier: str) -> None:
    response = answering.post(PATH, json={"input": "x", "service_tier": tier})
    assert response.status_code == 200
    assert response.headers["x-priority"] == ("0" if tier == "flex" else "1")


@pytest.mark.parametrize(
    "choice",
    [
        "none",
        "auto",
        "required",
        {"type": "function", "name": "look"},
        {"type": "custom", "name": "patch"},
        {"type": "function", "name": "find", "namespace": "space"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "patch"}]},
        {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "look"}, {"type": "web_search"}],
        },
        {"type": "web_search"},
    ],
)
def test_every_tool_choice_is_taken_and_told_again(answering: httpx.Client, choice: Any) -> None:
    tools = [
        {"type": "function", "name": "look"},
        {"type": "custom", "name": "patch"},
        {"type": "namespace", "name": "space", "tools": [{"type": "function", "name": "find"}]},
    ]
    assert post(answering, input="x", tools=tools, tool_choice=choice)["tool_choice"] == choice


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": 7}, "input"),
        ({"input": [{"role": "nobody", "content": "x"}]}, "input.0.role"),
        ({"input": [{"role": "user", "content": 7}]}, "input.0.content"),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "input.0.name"),
        ({"input": "x", "background": True, "store": False}, "background"),
        ({"input": "x", "conversation": "c", "previous_response_id": "r"}, "previous_response_id"),
        ({"input": "x", "previous_response_id": "resp_none"}, "previous_response_id"),
        ({"input": "x", "conversation": "conv_none"}, "conversation"),
        ({"input": "x", "tool_choice": "required"}, "tool_choice"),
        ({"input": "x", "tool_choice": {"type": "function", "name": "no"}}, "tool_choice"),
        ({"input": "x", "truncation": "some"}, "truncation"),
        ({"input": "x", "max_output_tokens": -2}, "max_output_tokens"),
        (
            {"input": "x", "text": {"format": {"type": "json_schema"}}},
            "text.format.schema",
        ),
        ({"input": [{"type": "item_reference", "id": "msg_none"}]}, "input.0.id"),
        (
            {
                "input": "x",
                "tools": [{"type": "function", "name": "a"}, {"type": "custom", "name": "a"}],
            },
            "tools.1",
        ),
    ],
)
def test_what_is_wrong_is_named(answering: httpx.Client, body: dict[str, Any], param: str) -> None:
    failure = RESPONSES.refusal(answering.post(PATH, json=body))
    assert failure.status in (400, 404)
    assert failure.param == param


DEEP = json.loads("[" * 300 + "]" * 300)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": [{"type": "from_next_year", "depth": DEEP}]}, "input"),
        ({"input": [{"role": "user", "content": "x", "extra": DEEP}]}, "input"),
        ({"input": "x", "tools": [{"type": "web_search", "filters": DEEP}]}, "tools"),
        ({"input": "x", "tool_choice": {"type": "web_search", "extra": DEEP}}, "tool_choice"),
        ({"input": "x", "text": {"format": {"type": "text", "extra": DEEP}}}, "text"),
        ({"input": "x", "instructions": [{"role": "user", "extra": DEEP}]}, "instructions"),
    ],
)
def test_what_is_too_deep_to_be_told_again_is_named(
    answering: httpx.Client, body: dict[str, Any], param: str
) -> None:
    for more in ({}, {"stream": True}, {"store": False}):
        failure = RESPONSES.refusal(answering.post(PATH, json={**body, **more}))
        assert (failure.status, failure.param) == (400, param)
    failure = RESPONSES.refusal(answering.post(f"{PATH}/input_tokens", json=body))
    assert (failure.status, failure.param) == (400, param)


def test_an_item_of_a_conversation_that_is_too_deep_is_named(answering: httpx.Client) -> None:
    items = [{"type": "from_next_year", "depth": DEEP}]
    failure = RESPONSES.refusal(answering.post("/v1/conversations", json={"items": items}))
    assert (failure.status, failure.param) == (400, "items")


def test_tools_of_an_earlier_item_may_be_called_later(answering: httpx.Client) -> None:
    look = {"type": "function", "name": "look"}
    item = {"type": "additional_tools", "role": "developer", "tools": [look]}
    choice = {"type": "function", "name": "look"}
    first = post(answering, input=[item, {"role": "user", "content": "x"}], tool_choice=choice)
    post(answering, input="y", previous_response_id=first["id"], tool_choice=choice)
    post(answering, input=[item, item, {"role": "user", "content": "x"}], tools=[look])
    failure = RESPONSES.refusal(answering.post(PATH, json={"input": "y", "tool_choice": choice}))
    assert failure.param == "tool_choice"


def test_the_grammars_of_all_tools_have_a_bound(answering: httpx.Client) -> None:
    form = {"type": "grammar", "syntax": "lark", "definition": 'start: "' + "a" * 60_000 + '"'}
    tools = [{"type": "custom", "name": f"t{n}", "format": form} for n in range(3)]
    fewer = answering.post(PATH, json={"input": "x", "tools": tools[:2]}).json()
    assert (fewer.get("error") or {}).get("param") != "tools"  # though it fits no small context
    failure = RESPONSES.refusal(answering.post(PATH, json={"input": "x", "tools": tools}))
    assert (failure.status, failure.param) == (400, "tools")


@pytest.mark.parametrize("path", [PATH, f"{PATH}/input_tokens"])
def test_what_may_not_be_there_is_described(answering: httpx.Client, path: str) -> None:
    described = answering.get("/openapi.json").json()["paths"][path]["post"]["responses"]
    for field in ("previous_response_id", "conversation"):
        refused = answering.post(path, json={"input": "x", field: "x"})
        code = refused.json()["error"]["code"]
        assert f"`{code}`" in described[str(refused.status_code)]["description"]


def test_an_unknown_previous_response_has_openais_words(answering: httpx.Client) -> None:
    body = {"input": "x", "previous_response_id": "resp_x"}
    error = answering.post(PATH, json=body).json()["error"]
    assert error["code"] == "previous_response_not_found"
    assert error["message"] == "Previous response with id 'resp_x' not found."


def test_a_stored_response_is_told_again_until_it_is_deleted(answering: httpx.Client) -> None:
    made = post(answering, input="one", metadata={"a": "b"})
    assert answering.get(f"{PATH}/{made['id']}").json() == made
    response = answering.delete(f"{PATH}/{made['id']}")
    assert response.json() == {"id": made["id"], "object": "response", "deleted": True}
    for method, end in (("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")):
        failure = RESPONSES.refusal(answering.request(method, f"{PATH}/{made['id']}{end}"))
        assert (failure.status, failure.param) == (404, "response_id")


def test_what_is_not_to_be_stored_is_not(answering: httpx.Client) -> None:
    made = post(answering, input="one", store=False)
    assert made["store"] is False
    assert answering.get(f"{PATH}/{made['id']}").status_code == 404


def test_input_items_come_in_pages(answering: httpx.Client) -> None:
    made = post(answering, input=[{"role": "user", "content": str(n)} for n in range(5)])
    path = f"{PATH}/{made['id']}/input_items"

    def page(**query: Any) -> tuple[list[str], bool, Any]:
        found = answering.get(path, params=query).json()
        texts = [item["content"][0]["text"] for item in found["data"]]
        assert found["first_id"] == found["data"][0]["id"]
        return texts, found["has_more"], found["last_id"]

    assert page()[:2] == (["4", "3", "2", "1", "0"], False)
    texts, more, last = page(order="asc", limit=2)
    assert (texts, more) == (["0", "1"], True)
    assert page(order="asc", limit=3, after=last)[:2] == (["2", "3", "4"], False)
    for query, name in (
        ({"limit": 0}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"order": "up"}, "order"),
    ):
        assert RESPONSES.refusal(answering.get(path, params=query)).param == name
    assert answering.get(path, params={"after": "no"}).status_code == 404


def test_a_stream_ends_with_the_response_that_is_stored(answering: httpx.Client) -> None:
    response = answering.post(PATH, json={"input": "one", "stream": True})
    found = events(response)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert [event["type"] for event in found[:2]] == ["response.created", "response.in_progress"]
    final = found[-1]["response"]
    assert answering.get(f"{PATH}/{final['id']}").json() == final
    failure = RESPONSES.refusal(answering.get(f"{PATH}/{final['id']}", params={"stream": "true"}))
    assert failure.param == "stream"


def test_a_background_response_is_replayed_from_anywhere(answering: httpx.Client) -> None:
    made = post(answering, input="one", background=True)
    assert made["status"] == "queued"
    path = f"{PATH}/{made['id']}"
    whole = events(answering.get(path, params={"stream": "true"}))
    assert whole[0]["type"] == "response.created"
    assert whole[-1]["response"] == answering.get(path).json()
    assert whole[-1]["response"]["status"] == "completed"
    for after in (0, 3, len(whole) - 1, 1000):
        part = events(answering.get(path, params={"stream": "true", "starting_after": after}))
        assert part == whole[after + 1 :]
    assert answering.post(f"{path}/cancel").json()["status"] == "completed"  # it has ended


def test_background_streams_are_batch_work_unless_asked_otherwise(answering: httpx.Client) -> None:
    for more, priority in (({}, "0"), ({"priority": 2}, "2"), ({"service_tier": "priority"}, "2")):
        response = answering.post(
            PATH, json={"input": "x", "background": True, "stream": True, **more}
        )
        assert response.headers["x-priority"] == priority
        assert events(response)[-1]["type"] == "response.completed"


def test_only_background_responses_are_cancelled(answering: httpx.Client) -> None:
    made = post(answering, input="one")
    failure = RESPONSES.refusal(answering.post(f"{PATH}/{made['id']}/cancel"))
    assert (failure.status, failure.param) == (400, "response_id")


def test_a_server_that_stores_nothing(answering: httpx.Client) -> None:
    with blocking_front(Config(alias=ALIAS, store_bytes=0), answers=True) as bare:
        made = post(bare, input="one")
        assert made["store"] is False
        assert bare.get(f"{PATH}/{made['id']}").status_code == 404
        failure = RESPONSES.refusal(bare.post(PATH, json={"input": "x", "background": True}))
        assert failure.param == "background"


def test_another_keys_responses_are_not_found() -> None:
    keyring = Keyring([ApiKey("one", digest("sk-one")), ApiKey("two", digest("sk-two"))])
    with blocking_front(Config(alias=ALIAS), keyring, answers=True) as client:
        one, two = ({"Authorization": f"Bearer sk-{name}"} for name in ("one", "two"))
        made = client.post(PATH, json={"input": "x", "background": True}, headers=one).json()
        path = f"{PATH}/{made['id']}"
        assert client.get(path, headers=one).status_code == 200
        for method, end in (
            ("GET", ""),
            ("DELETE", ""),
            ("GET", "/input_items"),
            ("POST", "/cancel"),
        ):
            assert client.request(method, path + end, headers=two).status_code == 404
        body = {"input": "x", "previous_response_id": made["id"]}
        assert client.post(PATH, json=body, headers=two).status_code == 400
        assert client.get(path, headers=one).status_code == 200
