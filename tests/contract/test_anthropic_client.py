"""Anthropic's own package, which most of the dialect's callers are.

Its models accept any field and keep unknown ones in ``model_extra``: a field there is one that we
invented or misspelt.
"""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import beta_tool
from anthropic.types import MessageParam, ToolParam
from pydantic import BaseModel

from tests.contract.test_openai_client import extras
from tests.support.server import ALIAS, ForgeServer

GREEDY = {"temperature": 0}
"""Its own models have no such parameter any more; others take it."""
QUESTION: list[MessageParam] = [{"role": "user", "content": "what is 2+2?"}]
WEATHER: ToolParam = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
PARIS: list[MessageParam] = [{"role": "user", "content": "What is the weather in Paris?"}]


@pytest.fixture(scope="module")
def client(server: ForgeServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="any", max_retries=0) as client:
        yield client


def test_create(client: anthropic.Anthropic) -> None:
    message = client.messages.create(
        model=ALIAS, max_tokens=64000, extra_body=GREEDY, messages=QUESTION, timeout=60
    )
    assert list(extras(message)) == []
    (block,) = message.content
    assert block.type == "text"
    assert block.text
    assert (message.role, message.model, message.stop_reason) == ("assistant", ALIAS, "end_turn")
    assert message.usage.output_tokens > 0
    assert message._request_id == message.id.replace("msg_", "req_")


def test_stream(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(model=ALIAS, max_tokens=40, extra_body=GREEDY, messages=QUESTION)
    with client.messages.stream(
        model=ALIAS, max_tokens=40, extra_body=GREEDY, messages=QUESTION
    ) as stream:
        kinds = []
        for event in stream:
            assert list(extras(event)) == []
            kinds.append(event.type)
        final = stream.get_final_message()
    raw = [kind for kind in kinds if kind != "text"]
    assert raw[:2] == ["message_start", "content_block_start"]
    assert raw[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert [block.to_dict() for block in final.content] == [
        block.to_dict() for block in whole.content
    ]
    assert final.stop_reason == whole.stop_reason
    usage = final.usage
    read = usage.cache_read_input_tokens or 0
    assert read > 0, "the same prompt was computed before"
    assert usage.input_tokens + read == whole.usage.input_tokens + (
        whole.usage.cache_read_input_tokens or 0
    )


def test_a_stop_sequence_is_named(client: anthropic.Anthropic) -> None:
    message = client.messages.create(
        model=ALIAS,
        max_tokens=40,
        extra_body=GREEDY,
        messages=QUESTION,
        stop_sequences=["=", "none"],
    )
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "=")
    (block,) = message.content
    assert block.type == "text"
    assert "=" not in block.text


def test_tools_and_their_results(client: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {"model": ALIAS, "max_tokens": 200, "tools": [WEATHER]}
    choice: Any = {"type": "tool", "name": "get_weather"}
    message = client.messages.create(**asked, messages=PARIS, tool_choice=choice)
    assert list(extras(message)) == []
    call = message.content[-1]
    assert call.type == "tool_use"
    assert (call.name, message.stop_reason) == ("get_weather", "tool_use")
    assert isinstance(call.input["city"], str)
    result: MessageParam = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}],
    }
    history = [*PARIS, message.to_param(), result]
    after = client.messages.create(**asked, messages=history, tool_choice={"type": "none"})
    assert after.stop_reason in ("end_turn", "max_tokens")


def test_a_streamed_call_is_the_whole_one(client: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {
        "model": ALIAS, "max_tokens": 200, "tools": [WEATHER], "extra_body": GREEDY,
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True}, "messages": PARIS,
    }  # fmt: skip
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    (call,), (streamed,) = whole.content, final.content
    assert call.type == streamed.type == "tool_use"
    assert (streamed.name, streamed.input) == (call.name, call.input)


def test_the_tool_runner(client: anthropic.Anthropic) -> None:
    """It asks for a thread first, and goes on with whole conversations where it is told to."""
    asked = []

    @beta_tool
    def get_weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return "It is sunny."

    runner = client.beta.messages.tool_runner(
        model=ALIAS,
        max_tokens=200,
        max_iterations=2,
        tools=[get_weather],
        tool_choice={"type": "any"},
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
    )
    messages = list(runner)
    assert asked
    assert messages[0].stop_reason == "tool_use"


def test_counted_tokens_are_those_of_the_request(client: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {"model": ALIAS, "tools": [WEATHER], "messages": PARIS}
    counted = client.messages.count_tokens(**asked, system="Be brief.")
    assert list(extras(counted)) == []
    usage = client.messages.create(**asked, system="Be brief.", max_tokens=1).usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)
    fewer = client.messages.count_tokens(model=ALIAS, messages=PARIS).input_tokens
    assert fewer < counted.input_tokens


def test_structured_output(client: anthropic.Anthropic) -> None:
    class Person(BaseModel):
        name: str
        age: int

    found = client.messages.parse(
        model=ALIAS, max_tokens=200, messages=QUESTION, output_format=Person
    )
    assert isinstance(found.parsed_output, Person)


def test_a_prefill_is_continued(client: anthropic.Anthropic) -> None:
    begun: list[MessageParam] = [*QUESTION, {"role": "assistant", "content": "2 + 2 ="}]
    message = client.messages.create(model=ALIAS, max_tokens=20, extra_body=GREEDY, messages=begun)
    (block,) = message.content
    assert block.type == "text"
    assert not block.text.startswith("2 + 2")


def test_models(client: anthropic.Anthropic) -> None:
    page = client.models.list(limit=1000)
    (model,) = page.data
    ours = ["object", "created", "owned_by", "state", "meta", "root", "parent", "architecture"]
    assert [name.removeprefix(".") for name in extras(model)] == ours
    assert (model.id, model.display_name, model.type) == (ALIAS, ALIAS, "model")
    assert model.max_input_tokens == 2048
    assert (page.has_more, page.first_id, page.last_id) == (False, ALIAS, ALIAS)
    assert client.models.retrieve(ALIAS) == model


def test_errors_are_its_classes(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        client.messages.create(model="claude-opus-4-8", max_tokens=9, messages=QUESTION)
    assert str(unknown.value.request_id).startswith("req_")
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long: "):
        client.messages.create(
            model=ALIAS, max_tokens=9, messages=[{"role": "user", "content": "7 + 7. " * 1000}]
        )
