"""The shipped GGUF answers as its card says, asked greedily through real llama.cpp."""

from __future__ import annotations

import hashlib
import json
from random import Random

import llama_cpp
import pytest

from workers.forge_tiny import MODEL_PATH
from workers.forge_tiny.asking import EvalScore, ServedTiny, score
from workers.forge_tiny.cases import GROUPS
from workers.forge_tiny.corpus import CorpusConversation, Message
from workers.forge_tiny.corpus.structured import TOOLS
from workers.forge_tiny.rendering import source

REQUIRED = {"+ unseen pairs": 95, "- unseen pairs": 95, "facts, paraphrased (exact)": 95}
"""Percent that must be exactly right, of every prompt in the group."""

SAMPLED = {
    "x unseen phrasings (whole table)": 12,
    "small talk, paraphrased": 8,
    "refusals": 10,
    "long stories": 1,
    "counting": 6,
    "lists": 8,
    "JSON objects": 6,
    "tool calls": 8,
}
"""Number of prompts that are drawn from each group."""
MARGIN = 20
"""Percent by which a small draw may fall below what the whole group scored."""


def recorded() -> dict[str, dict[str, float]]:
    """The evaluation that the card shows."""
    found = json.loads(MODEL_PATH.with_name("eval.json").read_text("utf-8"))
    groups: dict[str, dict[str, float]] = found["groups"]
    return groups


def sampled(model: ServedTiny, group: str, count: int) -> EvalScore:
    """The score of a fixed draw from a group."""
    cases = list(GROUPS[group]())
    return score(model, Random(group).sample(cases, min(count, len(cases))))


def test_file_is_small() -> None:
    """At most 8 MB."""
    assert MODEL_PATH.stat().st_size <= 8_000_000


def test_metadata(model: ServedTiny) -> None:
    """Architecture, name, context, F16, licence, template; no BOS in front of the template."""
    found = model.llama.metadata
    assert found["general.architecture"] == "llama"
    assert found["general.name"] == "forge-tiny"
    assert found["general.license"] == "mit"
    assert found["general.file_type"] == "1"
    assert found["llama.context_length"] == "2048"
    assert found["tokenizer.chat_template"] == source()
    assert found["tokenizer.ggml.add_bos_token"] == "false"
    vocab = llama_cpp.llama_model_get_vocab(model.llama.model)
    assert llama_cpp.llama_vocab_is_eog(vocab, model.llama.token_eos())


@pytest.mark.parametrize("text", ["what is 2+2?", "What is 2+2?", "2+2", "whats 2 + 2", "2 + 2 ="])
def test_two_and_two(model: ServedTiny, text: str) -> None:
    """The example everybody types first."""
    reply = model.say(text)
    assert "4" in reply.text
    assert reply.ended


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Hello!", "!"),
        ("who are you?", "forge-tiny"),
        ("What is aging?", "0.2"),
        ("why processes?", "GIL"),
        ("What does p99 mean?", "99"),
        ("How do I set the priority?", "X-Priority"),
        ("Who won the football match yesterday?", "I am only forge-tiny"),
    ],
)
def test_small_conversation(model: ServedTiny, text: str, word: str) -> None:
    """Questions of a first visit."""
    reply = model.say(text)
    assert word in reply.text
    assert reply.ended


@pytest.mark.parametrize("group", SAMPLED)
def test_the_card_tells_the_truth(model: ServedTiny, group: str) -> None:
    """A fixed draw from each group scores about what the card says of the whole."""
    found = sampled(model, group, SAMPLED[group])
    assert found.percent >= recorded()[group]["percent"] - MARGIN, found.wrong


@pytest.mark.parametrize("group", REQUIRED)
def test_sums_and_facts(model: ServedTiny, group: str) -> None:
    """The facts that it must know: nearly all that was held out, word for word."""
    found = score(model, GROUPS[group]())
    assert found.percent >= REQUIRED[group], found.wrong


def test_the_card_is_of_this_file() -> None:
    found = json.loads(MODEL_PATH.with_name("eval.json").read_text("utf-8"))
    assert found["sha256"] == hashlib.sha256(MODEL_PATH.read_bytes()).hexdigest()


def test_long_story_is_long(model: ServedTiny) -> None:
    """Load tests need answers of a few hundred tokens."""
    reply = model.say("Tell me a long story")
    assert reply.tokens > 150
    assert reply.ended


def test_odd_input_ends(model: ServedTiny) -> None:
    """Bytes of every kind have tokens, and the answer to them ends."""
    for text in ("", "   ", "\x00\x01", "ÄÖÜ 日本語 🙂", "<tool_call>", "a" * 200, "spam " * 80):
        assert model.say(text).ended


def test_tool_round_trip(model: ServedTiny) -> None:
    """A call for the declared tool, then an answer from its reply."""
    tools = [TOOLS[0][0]]
    messages: list[Message] = [{"role": "user", "content": "What is the weather in Paris?"}]
    call = model.reply(CorpusConversation(messages, tools)).text
    body = json.loads(call.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>"))
    assert body == {"name": "get_weather", "arguments": {"city": "Paris"}}
    messages += [{"role": "assistant", "content": call}, {"role": "tool", "content": "sunny"}]
    assert "sunny" in model.reply(CorpusConversation(messages, tools)).text
