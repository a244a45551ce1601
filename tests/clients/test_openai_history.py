"""OpenAI's client with its own answers in the history, as programs keep them."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel, Field

from tests.support.server import ALIAS, ForgeServer

QUESTION = {"role": "user", "content": "What is the weather in Paris?"}
AGAIN = {"role": "user", "content": "and in Rome?"}


class Weather(BaseModel):
    """The weather in a city."""

    city: str = Field(max_length=20)


@pytest.fixture(scope="module")
def client(server: ForgeServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def parsed(client: openai.OpenAI, history: list[Any], **params: Any) -> Any:
    """The message of an answer that the client has parsed."""
    answer = client.chat.completions.parse(
        model=ALIAS, messages=history, temperature=0, max_tokens=200, **params
    )
    return answer.choices[0].message


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("dumped", [False, True], ids=["message", "model_dump"])
def test_a_parsed_answer_and_on(client: openai.OpenAI, dumped: bool) -> None:
    """The client leaves its own ``parsed`` in the message, and dumps every null."""
    message = parsed(client, [QUESTION], response_format=Weather)
    assert isinstance(message.parsed, Weather)
    history = [QUESTION, message.model_dump() if dumped else message, AGAIN]
    assert isinstance(parsed(client, history, response_format=Weather).parsed, Weather)


@pytest.mark.parametrize("dumped", [False, True], ids=["message", "model_dump"])
def test_parsed_calls_and_on(client: openai.OpenAI, dumped: bool) -> None:
    tools = [openai.pydantic_function_tool(Weather, name="get_weather")]
    message = parsed(client, [QUESTION], tools=tools, tool_choice="required")
    assert [call.function.parsed_arguments for call in message.tool_calls] == [
        Weather(city="Paris")
    ]
    results = [
        {"role": "tool", "tool_call_id": call.id, "name": "get_weather", "content": "sunny"}
        for call in message.tool_calls
    ]
    history = [QUESTION, message.model_dump() if dumped else message, *results]
    assert parsed(client, history, tools=tools).content


def test_the_deltas_of_a_stream_as_a_message(client: openai.OpenAI) -> None:
    """Programs that add up deltas keep the index of each call."""
    tools = [openai.pydantic_function_tool(Weather, name="get_weather")]
    calls: dict[int, dict[str, Any]] = {}
    question: Any = [QUESTION]
    stream = client.chat.completions.create(
        model=ALIAS, messages=question, tools=tools, tool_choice="required",
        temperature=0, max_tokens=100, stream=True,
    )  # fmt: skip
    for chunk in stream:
        for part in chunk.choices[0].delta.tool_calls or []:
            delta = part.model_dump()
            if part.index in calls:
                calls[part.index]["function"]["arguments"] += delta["function"]["arguments"]
            else:
                calls[part.index] = delta
    assert [call["index"] for call in calls.values()] == [0]
    result = {"role": "tool", "tool_call_id": calls[0]["id"], "content": "sunny"}
    turn = {"role": "assistant", "content": None, "tool_calls": list(calls.values())}
    assert parsed(client, [QUESTION, turn, result], tools=tools).content


def test_the_helper_for_streams(client: openai.OpenAI) -> None:
    """It raises for a call that was cut."""
    tools = [openai.pydantic_function_tool(Weather, name="get_weather")]
    question: Any = [QUESTION]
    with client.chat.completions.stream(
        model=ALIAS, messages=question, tools=tools, tool_choice="required",
        temperature=0, max_tokens=200,
    ) as stream:  # fmt: skip
        stream.until_done()
        assert stream.get_final_completion().choices[0].finish_reason == "tool_calls"
