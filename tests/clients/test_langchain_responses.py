"""LangChain's ChatOpenAI on Responses: whole, streamed, with tools and with a form."""

from typing import Any

import pytest
from pydantic import BaseModel

from tests.support.server import ALIAS, ForgeServer

openai = pytest.importorskip("langchain_openai")
messages = pytest.importorskip("langchain_core.messages")


class Weather(BaseModel):
    """The weather of a city."""

    city: str


@pytest.fixture
def chat(server: ForgeServer) -> Any:
    return openai.ChatOpenAI(
        model=ALIAS,
        base_url=f"{server.url}/v1",
        api_key="any",
        use_responses_api=True,
        max_tokens=40,
        temperature=0,
    )


def test_an_answer_and_a_stream(chat: Any) -> None:
    answer = chat.invoke("what is 2+2?")
    assert answer.text
    assert answer.usage_metadata["input_tokens"] > 0
    assert answer.response_metadata["id"].startswith("resp_")
    assert "".join(chunk.text for chunk in chat.stream("what is 2+2?")) == answer.text


def test_a_tool_is_called_and_its_result_comes_back(chat: Any) -> None:
    bound = chat.bind_tools([Weather], tool_choice="Weather", strict=True)
    asked = [messages.HumanMessage("weather in Rome?")]
    answer = bound.invoke(asked)
    (call,) = answer.tool_calls
    assert call["name"] == "Weather"
    assert isinstance(call["args"]["city"], str)
    told = messages.ToolMessage("sunny", tool_call_id=call["id"])
    assert chat.invoke([*asked, answer, told]).text


def test_a_form_is_kept(chat: Any) -> None:
    structured = chat.with_structured_output(Weather, method="json_schema")
    assert isinstance(structured.invoke("Rome"), Weather)


def test_a_conversation_goes_on_by_its_last_response(chat: Any) -> None:
    linked = chat.model_copy(update={"use_previous_response_id": True})
    first = linked.invoke([messages.HumanMessage("what is 2+2?")])
    again = [messages.HumanMessage("what is 2+2?"), first, messages.HumanMessage("and 3+3?")]
    second = linked.invoke(again)
    assert second.usage_metadata["input_tokens"] > first.usage_metadata["input_tokens"]
