"""Ollama's own package for Python: chats, prompts, tools, forms, vectors and errors."""

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from tests.support.server import ForgeServer

pytestmark = pytest.mark.skipif(
    find_spec("ollama") is None, reason="ollama is not installed: pip install -e '.[clients]'"
)

PROGRAM = '''
import asyncio, json, sys
import ollama

client = ollama.Client(host=sys.argv[1])
asked = [{"role": "user", "content": "What is the weather in Paris?"}]
greedy = {"temperature": 0}

def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: The city.
    """
    return f"It is sunny in {city}."

answer = client.chat("forge-tiny", asked, tools=[get_weather], options=greedy)
(call,) = answer.message.tool_calls
result = get_weather(**call.function.arguments)
told = [*asked, answer.message, {"role": "tool", "tool_name": "get_weather", "content": result}]
after = client.chat("forge-tiny", told, tools=[get_weather], options=greedy)
streamed = [
    chunk.message.tool_calls
    for chunk in client.chat("forge-tiny", asked, tools=[get_weather], options=greedy, stream=True)
]

plain = client.chat("forge-tiny:latest", [{"role": "user", "content": "what is 2+2?"}],
                    options=ollama.Options(temperature=0, num_ctx=1024), keep_alive="5m")
chunks = list(client.generate("forge-tiny", "what is 2+2?", stream=True, options=greedy))
again = client.generate("forge-tiny", "and 3+3?", context=chunks[-1].context,
                        options={**greedy, "num_predict": 5, "priority": "batch"})
schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
person = client.chat("forge-tiny", [{"role": "user", "content": "Invent a person."}],
                     format=schema, options=greedy)

def error(ask):
    try:
        ask()
    except ollama.ResponseError as problem:
        return [problem.status_code, problem.error]

async def concurrent():
    other = ollama.AsyncClient(host=sys.argv[1])
    asks = (other.generate("forge-tiny", "hi", options={"num_predict": 3}) for _ in range(3))
    return [answer.eval_count for answer in await asyncio.gather(*asks)]

def mid_stream():
    for _ in client.chat("forge-tiny", asked, stream=True,
                         options={"timeout": 0.2, "ignore_eos": True, "temperature": 0}):
        pass

print(json.dumps({
    "call": [call.function.name, dict(call.function.arguments)],
    "after": after.message.content,
    "streamed": [[one.function.name for one in calls] for calls in streamed if calls],
    "plain": [plain.message.content, plain.done_reason, plain.eval_count, plain.total_duration],
    "text": "".join(chunk.response for chunk in chunks),
    "context": [len(chunks[-1].context), again.prompt_eval_count],
    "person": json.loads(person.message.content),
    "vectors": [len(v) for v in client.embed("forge-tiny", ["one", "two"]).embeddings],
    "vector": len(client.embeddings("forge-tiny", "one").embedding),
    "load": client.generate("forge-tiny").done_reason,
    "unload": client.chat("forge-tiny", [], keep_alive=0).done_reason,
    "unknown": error(lambda: client.chat("llama3", asked)),
    "wrong": error(lambda: client.chat("forge-tiny", asked, options={"top_k": "many"})),
    "deadline": error(mid_stream),
    "concurrent": asyncio.run(concurrent()),
}))
'''


@pytest.fixture(scope="module")
def told(server: ForgeServer) -> Any:
    """Return what the program printed."""
    command = [sys.executable, "-c", PROGRAM, server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_calls(told: Any) -> None:
    assert told["call"] == ["get_weather", {"city": "Paris"}]
    assert told["streamed"] == [["get_weather"]]
    assert told["after"]


def test_texts(told: Any) -> None:
    text, reason, tokens, duration = told["plain"]
    assert "4" in text
    assert reason == "stop"
    assert tokens > 1
    assert duration > 0
    assert "4" in told["text"]
    assert told["concurrent"] == [3, 3, 3]


def test_a_context(told: Any) -> None:
    before, prompt = told["context"]
    assert before < prompt


def test_forms(told: Any) -> None:
    assert isinstance(told["person"]["age"], int)


def test_vectors(told: Any) -> None:
    assert told["vectors"] == [told["vector"]] * 2
    assert told["vector"] > 100


def test_loads(told: Any) -> None:
    assert (told["load"], told["unload"]) == ("load", "unload")


def test_errors(told: Any) -> None:
    """They have the status and the text; in a stream the text alone."""
    assert told["unknown"][0] == 404
    assert told["unknown"][1].startswith("model 'llama3' not found")
    assert told["wrong"][0] == 400
    assert "'options.top_k'" in told["wrong"][1]
    assert "time ran out" in told["deadline"][1]
