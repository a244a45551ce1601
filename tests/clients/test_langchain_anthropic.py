"""LangChain's ChatAnthropic: text, streams, tools and structured output."""

from importlib.util import find_spec
from typing import Any

import pytest

from tests.clients.programs import LANGCHAIN, printed
from tests.support.server import ForgeServer

pytestmark = pytest.mark.skipif(
    find_spec("langchain_anthropic") is None,
    reason="langchain-anthropic is not installed: pip install -e '.[clients]'",
)

PROGRAM = (
    LANGCHAIN
    + """
import json, sys
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage

model = ChatAnthropic(
    model_name="forge-tiny", temperature=0, base_url=sys.argv[1], api_key="any", max_tokens=200,
    timeout=None, stop=None,
)
question = HumanMessage("What is the weather in Paris?")
answer, streamed = called(model, question)
result = get_weather.invoke(answer.tool_calls[0])
after = model.bind_tools([get_weather]).invoke([question, answer, result])
plain = model.invoke([SystemMessage("Be brief."), HumanMessage("what is 2+2?")])
text = "".join(chunk.text for chunk in model.stream("what is 2+2?"))
person = model.with_structured_output(Person).invoke("Tell me of a person.")
print(json.dumps({
    "calls": [call["args"] for call in answer.tool_calls],
    "streamed": [call["args"] for call in streamed.tool_calls],
    "after": after.response_metadata["stop_reason"],
    "plain": plain.text,
    "usage": plain.usage_metadata,
    "text": text,
    "person": person.model_dump(),
}))
"""
)


@pytest.fixture(scope="module")
def told(server: ForgeServer) -> Any:
    return printed(PROGRAM, server.url)


def test_calls(told: Any) -> None:
    (call,) = told["calls"]
    assert isinstance(call["city"], str)
    assert told["streamed"] == told["calls"]
    assert told["after"] in ("end_turn", "tool_use", "max_tokens")


def test_texts(told: Any) -> None:
    assert told["plain"]
    assert told["text"]
    assert told["usage"]["total_tokens"] > 0


def test_structured_output(told: Any) -> None:
    assert told["person"].keys() == {"name", "age"}
