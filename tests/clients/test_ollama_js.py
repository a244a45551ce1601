"""Ollama's own package for JavaScript, where Node.js and the package are there."""

import json
import shutil
import subprocess
from typing import Any

import pytest

from tests.support.server import ForgeServer

PROGRAM = """
import { createRequire } from 'node:module'
const { Ollama } = createRequire('/')('ollama')
const ollama = new Ollama({ host: process.argv[1] })
const model = 'forge-tiny'
const options = { temperature: 0 }
const asked = [{ role: 'user', content: 'What is the weather in Paris?' }]
const parameters = {
  type: 'object', properties: { city: { type: 'string' } }, required: ['city'],
}
const description = 'The weather in a city.'
const tools = [{ type: 'function', function: { name: 'get_weather', description, parameters } }]

const answer = await ollama.chat({ model, messages: asked, tools, options })
const chunks = []
const question = [{ role: 'user', content: 'what is 2+2?' }]
for await (const chunk of await ollama.chat({ model, messages: question, options, stream: true })) {
  chunks.push(chunk)
}
const generated = []
const prompt = 'what is 2+2?'
for await (const chunk of await ollama.generate({ model, prompt, options, stream: true })) {
  generated.push(chunk.response)
}
const failed = async (ask) => {
  try { await ask() } catch (problem) { return problem.message }
  return null
}
const late = { timeout: 0.2, ignore_eos: true, temperature: 0 }
const streamed = async () => {
  const stream = await ollama.chat({ model, messages: asked, stream: true, options: late })
  for await (const _ of stream) { /* until it fails */ }
}
console.log(JSON.stringify({
  calls: answer.message.tool_calls,
  text: chunks.map((chunk) => chunk.message.content).join(''),
  last: chunks.at(-1),
  generated: generated.join(''),
  vectors: (await ollama.embed({ model, input: ['one', 'two'] })).embeddings.map((v) => v.length),
  vector: (await ollama.embeddings({ model, prompt: 'one' })).embedding.length,
  version: (await ollama.version()).version,
  unknown: await failed(() => ollama.chat({ model: 'llama3', messages: asked })),
  deadline: await failed(streamed),
}))
"""
PROBE = "require('node:module').createRequire('/')('ollama')"


def _installed() -> bool:
    node = shutil.which("node")
    if node is None:
        return False
    return subprocess.run([node, "-e", PROBE], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(
    not _installed(), reason="no package ollama for Node.js in NODE_PATH: npm install ollama"
)


@pytest.fixture(scope="module")
def told(server: ForgeServer) -> Any:
    """Return what the program printed."""
    command = ["node", "--input-type=module", "-e", PROGRAM, server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_texts(told: Any) -> None:
    assert "4" in told["text"]
    assert "4" in told["generated"]
    assert told["last"]["done"] is True
    assert told["last"]["done_reason"] == "stop"
    assert told["last"]["eval_count"] > 1


def test_calls(told: Any) -> None:
    (call,) = told["calls"]
    assert call["function"]["name"] == "get_weather"
    assert call["function"]["arguments"] == {"city": "Paris"}


def test_vectors(told: Any) -> None:
    assert told["vectors"] == [told["vector"]] * 2
    assert told["vector"] > 100


def test_the_version(told: Any) -> None:
    assert told["version"].count(".") == 2


def test_errors(told: Any) -> None:
    assert told["unknown"].startswith("model 'llama3' not found")
    assert "time ran out" in told["deadline"]
