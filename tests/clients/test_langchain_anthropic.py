"""LangChain's ChatAnthropic: text, streams, tools and structured output."""

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from tests.support.server import ForgeServer

pytestmark = pytest.mark.skipif(
    find_spec("langchain_anthropic") is None,
    reason="langchain-anthropic is not installed: pip install -e '.[clients]'",
)

PROGRAM = '''
import json, sys
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field

model = ChatAnthropic(
    model_name="forge-tiny", temperature=0, base_url=sys.argv[1], api_key="any", max_tokens=200,
    timeout=None, stop=None,
)

@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."

class Person(BaseModel):
    name: str = Field(max_length=10)
    age: int = Field(ge=0, le=120)

question = HumanMessage("What is the weather in Paris?")
bound = model.bind_tools([get_weather], tool_choice="any")
answer = bound.invoke([question])
streamed = None
for chunk in bound.stream([question]):
    streamed = chunk if streamed is None else streamed + chunk
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
'''


@pytest.fixture(scope="module")
def told(server: ForgeServer) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, server.url], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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
