"""OpenAI's official client on Responses: every answer and event fits its types, nothing beside."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from tests.contract.test_openai_client import extras
from tests.support.server import ALIAS, ForgeServer, eventually

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
PATCH: Any = {
    "type": "custom",
    "name": "patch",
    "description": "Changes a file.",
    "format": {
        "type": "grammar",
        "syntax": "lark",
        "definition": 'start: "*** Begin" LF line+ "*** End"\nline: ("+" | "-") /[ab"]+/ LF\n'
        "%import common.LF",
    },
}
OURS = {".store", ".queue"}
"""Fields that the client's types lack: OpenAI's servers tell the first, the other is Forge's."""
REQUIRED = ("id", "created_at", "model", "object", "output", "parallel_tool_calls", "tool_choice")


@pytest.fixture(scope="module")
def client(server: ForgeServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


IN_EVENTS = {f".response{name}" for name in OURS}


def checked(response: Response) -> Response:
    """A response that has all fields of its type that are required, and none that is unknown."""
    assert {*extras(response)} <= OURS
    assert all(getattr(response, name, None) is not None for name in (*REQUIRED, "tools"))
    Response.model_validate(response.to_dict())
    return response


def streamed(client: openai.OpenAI, **params: Any) -> tuple[list[Any], Any]:
    """All events of the client's own stream, which checks their order, and the whole response."""
    with client.responses.stream(model=ALIAS, **params) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    return events, final


def test_an_answer(client: openai.OpenAI) -> None:
    response = checked(
        client.responses.create(
            model=ALIAS,
            input="what is 2+2?",
            instructions="be brief",
            temperature=0,
            max_output_tokens=40,
            metadata={"a": "b"},
            service_tier="flex",
            user="me",
            include=[],
            tools=[],
        )
    )
    assert response.status == "completed"
    assert response.output_text
    assert response.usage is not None
    assert response.usage.input_tokens > 0
    assert response.usage.input_tokens_details.cached_tokens >= 0
    assert response.usage.output_tokens_details.reasoning_tokens == 0
    assert (response.metadata, response.user, response.service_tier) == ({"a": "b"}, "me", "flex")


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI) -> None:
    params: dict[str, Any] = {"input": "what is 2+2?", "temperature": 0, "max_output_tokens": 40}
    whole = client.responses.create(model=ALIAS, **params)
    raw = list(client.responses.create(model=ALIAS, stream=True, **params))
    assert {found for event in raw for found in extras(event)} <= IN_EVENTS
    assert [event.sequence_number for event in raw] == list(range(len(raw)))
    events, final = streamed(client, **params)
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == final.output_text == whole.output_text


def test_a_limit_makes_it_incomplete(client: openai.OpenAI) -> None:
    response = checked(
        client.responses.create(model=ALIAS, input="tell a story", max_output_tokens=2)
    )
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


class Person(BaseModel):
    name: str
    age: int


def test_parse_gets_an_object(client: openai.OpenAI) -> None:
    response = client.responses.parse(
        model=ALIAS, input="Ann is 7.", text_format=Person, max_output_tokens=60, temperature=0
    )
    assert isinstance(response.output_parsed, Person)
    events, final = streamed(client, input="Ann is 7.", text_format=Person, max_output_tokens=60)
    assert isinstance(final.output_parsed, Person)
    assert [event.parsed for event in events if event.type == "response.output_text.done"]


def test_a_function_is_called_and_its_result_is_read(client: openai.OpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": "weather in Rome?"}]
    choice: Any = {"type": "function", "name": "get_weather"}
    events, final = streamed(client, input=asked, tools=[WEATHER], tool_choice=choice)
    params: dict[str, Any] = {"tools": [WEATHER], "tool_choice": choice, "stream": True}
    raw = list(client.responses.create(model=ALIAS, input=asked, **params))
    assert {found for event in raw for found in extras(event)} <= IN_EVENTS
    (call,) = (item for item in final.output if item.type == "function_call")
    assert call.parsed_arguments in ({"city": "Rome"}, {"city": "Oslo"})
    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert [event.arguments for event in done] == [call.arguments]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    more = [*asked, *(item.to_dict() for item in final.output), result]
    answer = client.responses.create(
        model=ALIAS, input=more, tools=[WEATHER], tool_choice="none", max_output_tokens=30
    )
    assert answer.output_text


def test_a_custom_tools_text_follows_its_grammar(client: openai.OpenAI) -> None:
    choice: Any = {"type": "custom", "name": "patch"}
    params: dict[str, Any] = {"input": "change it", "tools": [PATCH], "tool_choice": choice}
    for seed in range(3):
        events, final = _custom(client, params, seed)
        assert {found for event in events for found in extras(event)} <= IN_EVENTS
        (call,) = (item for item in final.output if item.type == "custom_tool_call")
        deltas = [e.delta for e in events if e.type == "response.custom_tool_call_input.delta"]
        assert "".join(deltas) == call.input
        if final.status == "completed":
            first, *lines, last = call.input.split("\n")
            assert (first, last) == ("*** Begin", "*** End")
            assert all(line[0] in "+-" and set(line[1:]) <= set('ab"') for line in lines)
            assert lines


def _custom(client: openai.OpenAI, params: dict[str, Any], seed: int) -> tuple[list[Any], Response]:
    events = list(
        client.responses.create(
            model=ALIAS, stream=True, max_output_tokens=300, extra_body={"seed": seed}, **params
        )
    )
    return events, events[-1].response


def test_a_regular_expression_binds_a_custom_tool_of_a_namespace(client: openai.OpenAI) -> None:
    form = {"type": "grammar", "syntax": "regex", "definition": r"[a-c]{2}\n\"[x-z]\""}
    inner: Any = {"type": "custom", "name": "mark", "format": form}
    space: Any = {"type": "namespace", "name": "files", "description": "", "tools": [inner]}
    choice: Any = {"type": "custom", "name": "mark", "namespace": "files"}
    response = client.responses.create(
        model=ALIAS, input="mark it", tools=[space], tool_choice=choice
    )
    (call,) = (item for item in response.output if item.type == "custom_tool_call")
    assert (call.name, call.namespace) == ("mark", "files")
    first, second = call.input.split("\n")
    assert set(first) <= set("abc")
    assert second in ('"x"', '"y"', '"z"')


def test_a_grammar_that_cant_be_enforced_is_named(client: openai.OpenAI) -> None:
    form: Any = {"type": "grammar", "syntax": "lark", "definition": "start: /a(?=b)/"}
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(
            model=ALIAS, input="x", tools=[{"type": "custom", "name": "p", "format": form}]
        )
    assert caught.value.param == "tools.0.format.definition"


def test_a_schema_that_cant_be_enforced_is_named(client: openai.OpenAI) -> None:
    strict: Any = {**WEATHER, "parameters": {"type": "object", "properties": {"a": {"not": {}}}}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=ALIAS, input="x", tools=[{"type": "web_search"}, strict])
    assert str(caught.value.param).startswith("tools.1.parameters")


def test_logprobs(client: openai.OpenAI) -> None:
    params: dict[str, Any] = {"input": "what is 2+2?", "max_output_tokens": 20, "top_logprobs": 2}
    response = client.responses.create(
        model=ALIAS, include=["message.output_text.logprobs"], **params
    )
    (message,) = (item for item in response.output if item.type == "message")
    (part,) = message.content
    assert part.type == "output_text"
    assert part.logprobs
    assert "".join(bytes(one.bytes).decode() for one in part.logprobs) == part.text
    assert all(len(one.top_logprobs) == 2 for one in part.logprobs)
    events = list(client.responses.create(model=ALIAS, stream=True, **params))
    told = [one for e in events if e.type == "response.output_text.delta" for one in e.logprobs]
    assert len(told) == len(part.logprobs)


def test_a_conversation_goes_on_after_a_stored_response(client: openai.OpenAI) -> None:
    params: dict[str, Any] = {"model": ALIAS, "temperature": 0, "max_output_tokens": 16}
    first = client.responses.create(input="what is 2+2?", **params)
    second = client.responses.create(input="and 3+3?", previous_response_id=first.id, **params)
    whole: list[Any] = [
        {"role": "user", "content": "what is 2+2?"},
        *(item.to_dict() for item in first.output),
        {"role": "user", "content": "and 3+3?"},
    ]
    stateless = client.responses.create(input=whole, store=False, **params)
    assert second.output_text == stateless.output_text
    assert second.usage is not None
    assert stateless.usage is not None
    assert second.usage.input_tokens == stateless.usage.input_tokens
    client.responses.delete(first.id)
    third = client.responses.create(input="thanks", previous_response_id=second.id, **params)
    assert third.usage is not None
    assert third.usage.input_tokens > second.usage.input_tokens
    (item,) = client.responses.input_items.list(third.id).data
    assert item.type == "message"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    assert checked(client.responses.retrieve(second.id)).output_text == second.output_text


def test_items_are_referred_to_by_their_ids(client: openai.OpenAI) -> None:
    params: dict[str, Any] = {"model": ALIAS, "temperature": 0, "max_output_tokens": 16}
    first = client.responses.create(input="what is 2+2?", **params)
    asked: Any = {"role": "user", "content": "what is 2+2?"}
    more: Any = {"role": "user", "content": "and 3+3?"}
    named: Any = [{"type": "item_reference", "id": item.id} for item in first.output]
    told: Any = [item.to_dict() for item in first.output]
    by_name = client.responses.create(input=[asked, *named, more], **params)
    by_value = client.responses.create(input=[asked, *told, more], **params)
    assert by_name.output_text == by_value.output_text
    assert by_name.usage is not None
    assert by_value.usage is not None
    assert by_name.usage.input_tokens == by_value.usage.input_tokens


def test_a_conversation_grows_with_its_responses(client: openai.OpenAI) -> None:
    hello: Any = {"role": "user", "content": "hello"}
    begun = client.conversations.create(items=[hello], metadata={"topic": "greeting"})
    assert list(extras(begun)) == []
    response = client.responses.create(
        model=ALIAS, input="what is 2+2?", conversation=begun.id, max_output_tokens=16
    )
    assert response.conversation is not None
    assert response.conversation.id == begun.id
    items = list(client.conversations.items.list(begun.id, order="asc"))
    assert [item.type for item in items] == ["message"] * 3
    assert items[-1].id == response.output[0].id
    found = client.conversations.items.retrieve(str(items[0].id), conversation_id=begun.id)
    assert found.type == "message"
    client.conversations.items.create(begun.id, items=[hello])
    client.conversations.items.delete(str(items[0].id), conversation_id=begun.id)
    assert len(list(client.conversations.items.list(begun.id, limit=1))) == 3
    assert client.conversations.update(begun.id, metadata={}).metadata == {}
    assert client.conversations.retrieve(begun.id).id == begun.id
    assert client.conversations.delete(begun.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(begun.id)


def test_work_in_the_background_is_polled_and_followed(client: openai.OpenAI) -> None:
    begun = checked(client.responses.create(model=ALIAS, input="a story", background=True))
    assert begun.status in ("queued", "in_progress")
    eventually(lambda: client.responses.retrieve(begun.id).status == "completed", "it is done")
    final = client.responses.retrieve(begun.id)
    events = list(client.responses.retrieve(begun.id, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    late = list(client.responses.retrieve(begun.id, stream=True, starting_after=3))
    assert [event.to_dict() for event in late] == [event.to_dict() for event in events[4:]]
    with client.responses.stream(response_id=begun.id, starting_after=2) as stream:
        assert [event.sequence_number for event in stream] == list(range(3, len(events)))
        assert stream.get_final_response().output_text == final.output_text


def test_work_in_the_background_is_cancelled(client: openai.OpenAI) -> None:
    begun = client.responses.create(
        model=ALIAS, input="x", background=True, extra_body={"ignore_eos": True}
    )
    cancelled = checked(client.responses.cancel(begun.id))
    assert cancelled.status == "cancelled"
    assert client.responses.cancel(begun.id).status == "cancelled"
    events = list(client.responses.retrieve(begun.id, stream=True))
    ends = ("response.completed", "response.incomplete", "response.failed")
    assert [event.type in ends for event in events].count(True) == 1
    assert events[-1].type in ends


def test_a_background_stream_outlives_its_client(client: openai.OpenAI) -> None:
    stream = client.responses.create(model=ALIAS, input="a story", background=True, stream=True)
    first = next(iter(stream))
    assert first.type == "response.created"
    stream.close()
    id_ = first.response.id
    eventually(lambda: client.responses.retrieve(id_).status == "completed", "it is done")


def test_input_is_counted_as_a_response_tells_it(client: openai.OpenAI) -> None:
    params: Any = {"model": ALIAS, "input": "what is 2+2?", "instructions": "be brief"}
    params |= {"tools": [WEATHER]}
    counted = client.responses.input_tokens.count(**params)
    assert list(extras(counted)) == []
    response = client.responses.create(max_output_tokens=1, **params)
    assert response.usage is not None
    assert counted.input_tokens == response.usage.input_tokens


def test_old_turns_go_where_the_whole_is_too_long(client: openai.OpenAI) -> None:
    turn: list[Any] = [
        {"role": "user", "content": "what is 2+2? " * 40},
        {"type": "function_call", "call_id": "c", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "rain " * 40},
    ]
    items = turn * 40
    params: dict[str, Any] = {"model": ALIAS, "instructions": "be brief", "max_output_tokens": 8}
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(input=items, **params)
    assert caught.value.code == "context_length_exceeded"
    response = client.responses.create(input=items, truncation="auto", **params)
    assert response.truncation == "auto"
    assert response.usage is not None
    one = client.responses.input_tokens.count(model=ALIAS, input=turn, instructions="be brief")
    assert response.usage.input_tokens > 2 * one.input_tokens
