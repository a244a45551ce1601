"""LangChain's ChatOllama and OllamaEmbeddings: text, streams, tools, structured output, vectors."""

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from tests.support.server import ForgeServer

pytestmark = pytest.mark.skipif(
    find_spec("langchain_ollama") is None,
    reason="langchain-ollama is not installed: pip install -e '.[clients]'",
)

PROGRAM = '''
import json, sys
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from pydantic import BaseModel, Field

base = dict(model="forge-tiny", base_url=sys.argv[1])
model = ChatOllama(temperature=0, num_ctx=1024, num_predict=200, keep_alive="5m", **base)

@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."

class Person(BaseModel):
    name: str = Field(max_length=10)
    age: int = Field(ge=0, le=120)

question = HumanMessage("What is the weather in Paris?")
bound = model.bind_tools([get_weather])
answer = bound.invoke([question])
streamed = None
for chunk in bound.stream([question]):
    streamed = chunk if streamed is None else streamed + chunk
result = get_weather.invoke(answer.tool_calls[0])
after = bound.invoke([question, answer, result])
plain = model.invoke([SystemMessage("Be brief."), HumanMessage("what is 2+2?")])
embeddings = OllamaEmbeddings(**base)
print(json.dumps({
    "text": plain.content,
    "usage": plain.usage_metadata,
    "metadata": plain.response_metadata,
    "stream": [chunk.content for chunk in model.stream("what is 2+2?")],
    "call": answer.tool_calls[0],
    "streamed": streamed.tool_calls[0],
    "after": after.type,
    "person": model.with_structured_output(Person).invoke("Invent a person.").model_dump(),
    "json": json.loads(ChatOllama(format="json", temperature=0, num_predict=200, **base)
                       .invoke("Invent a person, as JSON.").content or "{}"),
    "completed": OllamaLLM(num_predict=5, **base).invoke("what is 2+2?"),
    "documents": [len(vector) for vector in embeddings.embed_documents(["one", "two"])],
    "query": len(embeddings.embed_query("one")),
}))
'''


@pytest.fixture(scope="module")
def told(server: ForgeServer) -> Any:
    """Return what a program printed. A process of its own: its warnings are LangChain's affair."""
    command = [sys.executable, "-c", PROGRAM, server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_text(told: Any) -> None:
    assert "4" in told["text"]
    assert told["usage"]["total_tokens"] > 10
    assert told["metadata"]["done_reason"] == "stop"
    assert "4" in "".join(told["stream"])
    assert len(told["stream"]) > 1
    assert told["completed"]


def test_tools(told: Any) -> None:
    for call in (told["call"], told["streamed"]):
        assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
        assert call["id"]
    assert told["after"] == "ai"


def test_structured_output(told: Any) -> None:
    assert 0 <= told["person"]["age"] <= 120
    assert isinstance(told["json"], dict)


def test_embeddings(told: Any) -> None:
    assert told["documents"] == [told["query"]] * 2
    assert told["query"] > 100
