"""Tools as the official client uses them: choices, streams, results fed back, bad input."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from tests.contract.test_openai_client import extras
from tests.support.dialects import CHAT
from tests.support.server import ALIAS, ForgeServer

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
ADD: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {
                "a": {"type": "integer", "minimum": 0, "maximum": 9},
                "b": {"$ref": "#/$defs/pair"},
            },
            "$defs": {
                "pair": {
                    "type": "array",
                    "items": {"type": "integer", "minimum": -5, "maximum": 5},
                    "minItems": 2,
                    "maxItems": 2,
                }
            },
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
NOW: Any = {"type": "function", "function": {"name": "now"}}
TOOLS = [WEATHER, ADD, NOW]
SCHEMAS = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in TOOLS}
PARIS: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the weather in Paris?"}
]


@pytest.fixture(scope="module")
def client(server: ForgeServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def calls_of(answer: ChatCompletion) -> list[tuple[str, Any]]:
    """Names and arguments; every call is checked against its schema."""
    assert list(extras(answer)) == []
    (choice,) = answer.choices
    found = []
    for call in choice.message.tool_calls or []:
        assert call.type == "function"
        arguments = json.loads(call.function.arguments)
        jsonschema.validate(arguments, SCHEMAS[call.function.name])
        found.append((call.function.name, arguments))
    assert (choice.finish_reason == "tool_calls") == bool(found)
    assert found or choice.message.content
    return found


def create(client: openai.OpenAI, **params: Any) -> ChatCompletion:
    defaults = {"model": ALIAS, "messages": PARIS, "tools": TOOLS, "temperature": 0, "seed": 1}
    answer: ChatCompletion = client.chat.completions.create(**{**defaults, **params})
    return answer


def test_the_model_calls_when_it_should(client: openai.OpenAI) -> None:
    answer = create(client)
    assert calls_of(answer) == [("get_weather", {"city": "Paris"})]
    assert answer.choices[0].message.content is None
    ids = [call.id for call in answer.choices[0].message.tool_calls or []]
    assert len(ids) == len(set(ids)) == 1
    assert ids[0].startswith("call_")


def test_auto_leaves_room_for_text(client: openai.OpenAI) -> None:
    question = [{"role": "user", "content": "what is 2+2?"}]
    answer = create(client, messages=question, tools=[WEATHER], tool_choice="auto")
    assert calls_of(answer) == []
    assert answer.choices[0].finish_reason == "stop"


def test_none_is_as_without_tools(client: openai.OpenAI) -> None:
    without = create(client, tools=openai.NOT_GIVEN, max_tokens=20)
    answer = create(client, tool_choice="none", max_tokens=20)
    assert calls_of(answer) == []
    assert answer.choices[0].message.content == without.choices[0].message.content
    assert answer.usage is not None
    assert without.usage is not None
    assert answer.usage.prompt_tokens == without.usage.prompt_tokens


@pytest.mark.parametrize("seed", range(6))
def test_required_always_calls(client: openai.OpenAI, seed: int) -> None:
    question = [{"role": "user", "content": "Tell me a story."}]
    answer = create(
        client, messages=question, tool_choice="required", temperature=1.5, seed=seed,
        parallel_tool_calls=False, max_tokens=400,
    )  # fmt: skip
    if answer.choices[0].finish_reason != "length":
        assert len(calls_of(answer)) == 1


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_named_function_is_the_one(client: openai.OpenAI, name: str) -> None:
    choice = {"type": "function", "function": {"name": name}}
    answer = create(client, tool_choice=choice, max_tokens=200)
    assert [called for called, _ in calls_of(answer)] == [name]


def test_allowed_tools(client: openai.OpenAI) -> None:
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "add"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    answer = create(client, tool_choice=choice, max_tokens=200, parallel_tool_calls=False)
    assert [called for called, _ in calls_of(answer)] == ["add"]


def test_a_stream_adds_up_to_the_whole(client: openai.OpenAI) -> None:
    params: Any = {"messages": PARIS, "tool_choice": "required", "parallel_tool_calls": False}
    ((name, arguments),) = calls_of(create(client, **params))
    names, pieces, ids, reasons = [], [], set(), set()
    stream = client.chat.completions.create(
        model=ALIAS, tools=TOOLS, temperature=0, seed=1, stream=True, **params
    )
    for chunk in stream:
        assert list(extras(chunk)) == []
        (choice,) = chunk.choices
        reasons.add(choice.finish_reason)
        for call in choice.delta.tool_calls or []:
            assert call.index == 0
            assert call.function is not None
            ids.add(call.id)
            names.append(call.function.name)
            pieces.append(call.function.arguments or "")
    assert [one for one in names if one is not None] == [name]
    assert len(ids - {None}) == 1
    assert len(pieces) > 2, "the arguments come as they are written"
    assert json.loads("".join(pieces)) == arguments
    assert reasons == {None, "tool_calls"}


def test_the_clients_own_accumulator(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model=ALIAS, messages=PARIS, tools=TOOLS, tool_choice="required", temperature=0, seed=1
    ) as stream:
        final = stream.get_final_completion()
    (call, *_) = final.choices[0].message.tool_calls or []
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_results_are_fed_back(client: openai.OpenAI) -> None:
    first = create(client)
    message = first.choices[0].message
    (call,) = message.tool_calls or []
    messages = [
        *PARIS,
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": '{"temperature": 31, "sky": "clear"}'},
    ]
    answer = create(client, messages=messages)
    assert calls_of(answer) == []
    assert answer.usage is not None
    assert first.usage is not None
    assert answer.usage.prompt_tokens > first.usage.prompt_tokens


@pytest.mark.parametrize("stop", [["b"], ["\n"], ['"'], ["}"], ["get"]])
def test_stop_strings_are_of_the_text(client: openai.OpenAI, stop: list[str]) -> None:
    """In markup and arguments they mean nothing; a call that ends well is whole."""
    answer = client.chat.completions.create(
        model=ALIAS, messages=PARIS, tools=TOOLS, tool_choice="required", stop=stop,
        temperature=0, max_tokens=200,
    )  # fmt: skip
    assert answer.choices[0].finish_reason == "tool_calls"
    assert ("get_weather", "Paris") in [(name, at.get("city")) for name, at in calls_of(answer)]
    plain = client.chat.completions.create(
        model=ALIAS, messages=PARIS, tools=TOOLS, tool_choice="none", stop=[" "], temperature=0
    )
    assert " " not in (plain.choices[0].message.content or "")
    assert plain.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("size", range(1, 30))
def test_a_call_that_is_cut(client: openai.OpenAI, size: int) -> None:
    """Its markup is never content, streamed or not."""
    params: Any = {
        "model": ALIAS, "messages": PARIS, "tools": TOOLS, "tool_choice": "required",
        "temperature": 0, "max_tokens": size,
    }  # fmt: skip
    whole = client.chat.completions.create(**params).choices[0]
    streamed = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(stream=True, **params)
    )
    assert (whole.message.content or "") == streamed
    assert len(streamed) <= 1, "a single character may be text"
    assert whole.finish_reason in ("length", "tool_calls")


def test_tools_and_a_schema_for_the_text(client: openai.OpenAI) -> None:
    """Whatever the model chooses is bound: a valid call, or JSON of the schema."""
    format_: Any = {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": {"enum": ["yes", "no"]}, "strict": True},
    }
    for question in ("What is the weather in Paris?", "what is 2+2?"):
        messages = [{"role": "user", "content": question}]
        answer = create(client, messages=messages, response_format=format_)
        if not calls_of(answer):
            assert json.loads(answer.choices[0].message.content or "") in ("yes", "no")


CALL = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"tools": {}}, "tools"),
    ({"tools": [5]}, "tools.0"),
    ({"tools": [{}]}, "tools.0.type"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type"),
    ({"tools": [{"type": "function"}]}, "tools.0.function"),
    ({"tools": [{"type": "function", "function": {"name": "a\nb"}}]}, "tools.0.function.name"),
    ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools.0.function.name"),
    ({"tools": [{"type": "function", "function": {"name": "x" * 257}}]}, "tools.0.function.name"),
    (
        {
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}
            ]
        },
        "tools.0.function.parameters",
    ),
    ({"tools": [NOW, NOW]}, "tools"),
    ({"tools": [NOW] * 1025}, "tools"),
    ({"tool_choice": "sometimes"}, "tool_choice"),
    ({"tool_choice": "required", "tools": []}, "tool_choice"),
    ({"tool_choice": {"type": "function", "function": {"name": "sub"}}}, "tool_choice"),
    ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
    ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
    ({"messages": [{"role": "assistant", "content": 4}]}, "messages.0.content"),
    ({"messages": [{"role": "tool", "tool_call_id": 4}]}, "messages.0.tool_call_id"),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{**CALL, "type": "custom"}]}]},
        "messages.0.tool_calls.0.type",
    ),
    (
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [{**CALL, "function": {"name": "", "arguments": "{}"}}],
                }
            ]
        },
        "messages.0.tool_calls.0.function.name",
    ),
]


@pytest.mark.parametrize(("change", "param"), BAD, ids=[param for _, param in BAD])
def test_bad_tools(front: httpx.Client, change: dict[str, Any], param: str) -> None:
    response = front.post(CHAT.path, json={**CHAT.body(), "tools": TOOLS, **change})
    failure = CHAT.refusal(response)
    assert (failure.status, failure.param) == (400, param), failure.message


def test_a_strict_schema_that_cannot_be_enforced(http: httpx.Client) -> None:
    """Found by the worker that compiles it."""
    function = {"name": "f", "strict": True, "parameters": {"not": {}}}
    body = {**CHAT.body(), "tools": [{"type": "function", "function": function}]}
    failure = CHAT.refusal(http.post(CHAT.path, json=body))
    param = "tools.0.function.parameters.not"
    assert (failure.status, failure.param) == (400, param), failure.message


ODD: dict[str, Any] = {
    "sibling definitions": {
        "filters": {
            "type": "array",
            "items": {"$ref": "#/$defs/F", "$defs": {"F": {"type": "object"}}},
        }
    },
    "dangling": {"a": {"$ref": "#/$defs/F"}},
    "remote": {"a": {"$ref": "https://example.com/schema.json"}},
    "look-around": {"a": {"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"}},
    "no pattern": {"a": {"type": "string", "pattern": "("}},
    "unknown type": {"a": {"type": "any"}},
    "no schema": {"a": 5},
    "unknown format": {"a": {"type": "string", "format": "odd"}},
}


@pytest.mark.parametrize("properties", ODD.values(), ids=ODD)
def test_one_odd_tool_costs_nothing(http: httpx.Client, properties: dict[str, Any]) -> None:
    parameters = {"type": "object", "properties": properties, "required": None}
    odd = {"type": "function", "function": {"name": "odd", "parameters": parameters}}
    for choice in ("auto", {"type": "function", "function": {"name": "odd"}}):
        answer = http.post(
            CHAT.path,
            json=CHAT.body(tools=[WEATHER, odd], tool_choice=choice, max_tokens=5),
        )
        assert answer.status_code == 200, answer.text
