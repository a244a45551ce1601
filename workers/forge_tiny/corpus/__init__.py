"""The training text: conversations drawn from a seed, topic by topic, by code alone.

`conversation(rng)` draws one; `stream(seed)` draws them for ever. Phrasings that are data lie in
TOML files beside the code; no sentence is copied from anywhere, so seed and repository fix every
byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from random import Random

from . import arithmetic, chat, echo, facts, lists, stories, structured, unknown
from .message import CorpusConversation, Message
from .words import invented

__all__ = ["CorpusConversation", "Message", "conversation", "long_conversation", "stream"]

Topic = Callable[[Random], list[Message]]

Topics = dict[Topic, float]
PLAIN: Topics = {
    arithmetic.turns: 31.0,
    facts.turns: 31.0,
    unknown.turns: 15.0,
    chat.turns: 11.0,
    lists.turns: 7.0,
    structured.turns: 4.0,
    stories.turns: 3.0,
    echo.turns: 2.0,
}
"""Weight of each topic in the draw."""
_VARIED: dict[Topic, Topic] = {
    facts.turns: facts.varied_turns,
    unknown.turns: unknown.varied_turns,
    lists.turns: lists.varied_turns,
}
VARIED: Topics = {_VARIED.get(topic, topic): weight for topic, weight in PLAIN.items()}
"""The same with odder questions, once the plain ones are understood."""
SUMS: Topics = {**VARIED, arithmetic.turns: 70.0}
"""The same with half of all turns about sums, which take longest to generalise."""

TOOL_SHARE = 0.06
NAME_SHARE = 0.03
PLAIN_SHARE = 0.02

_SYSTEM = (
    "You are a helpful assistant.", "You are forge-tiny.", "Be brief.", "Answer politely.",
    "You are an assistant.",
    "You are a friendly and helpful assistant.", "Answer the question.",
    "You are a concise assistant.", "Be kind.",
    "You are a helpful AI assistant. Answer truthfully.", "Answer in English.",
    "You are forge-tiny, the model of Forge.",
    "You answer questions about Forge.", "Keep your answers short.", "You are a chat bot.",
    "Help the user.",
)  # fmt: skip

_TRAITS = ("nice", "good", "careful", "kind", "smart", "fast", "modern", "patient", "calm", "new")
_DUTIES = ("for", "at", "from", "in the house of", "that helps", "of the company", "working with")


def _topic(rng: Random, topics: Topics) -> list[Message]:
    return rng.choices(list(topics), list(topics.values()))[0](rng)


def _system(rng: Random) -> list[Message]:
    if rng.random() < 0.65:
        return []
    if rng.random() < 0.2:
        role = f"You are a {rng.choice(_TRAITS)} assistant {rng.choice(_DUTIES)} {invented(rng)}."
        return [{"role": "system", "content": role}]
    count = 1 if rng.random() < 0.8 else 2
    return [{"role": "system", "content": " ".join(rng.sample(_SYSTEM, count))}]


def _plain(rng: Random) -> str:
    """Text without turns, so that raw prompts are continued in a sensible way."""
    kind = rng.random()
    if kind < 0.5:
        return stories.story(rng, rng.randint(0, 4))
    if kind < 0.6:
        return lists.counting(1, rng.randint(5, 60))
    told = (arithmetic if kind < 0.75 else facts).turns
    return "\n".join(told(rng)[1]["content"] for _ in range(rng.randint(1, 6)))


def conversation(rng: Random, topics: Topics = PLAIN) -> CorpusConversation:
    """One conversation of one to five exchanges, with or without a system prompt and tools."""
    if rng.random() < PLAIN_SHARE:
        return CorpusConversation([], text=_plain(rng))
    system = _system(rng)
    kind = rng.random()
    if kind < TOOL_SHARE:
        found = structured.with_tools(rng, partial(_topic, topics=topics))
        return CorpusConversation(system + found.messages, found.tools)
    if kind < TOOL_SHARE + NAME_SHARE:
        first, later = chat.introduction(rng)
        middle = _topic(rng, topics) if rng.random() < 0.5 else []
        last = later if rng.random() < 0.6 else []
        return CorpusConversation(system + first + middle + last)
    if kind < TOOL_SHARE + NAME_SHARE + 0.004:
        return CorpusConversation(system + chat.unnamed(rng))
    turns = rng.choices((1, 2, 3, 4, 5), (62, 18, 10, 6, 4))[0]
    return CorpusConversation(system + [m for _ in range(turns) for m in _topic(rng, topics)])


def long_conversation(rng: Random, exchanges: int, topics: Topics = PLAIN) -> CorpusConversation:
    """Many exchanges on changing topics, for the long-context phase."""
    return CorpusConversation(
        _system(rng) + [m for _ in range(exchanges) for m in _topic(rng, topics)]
    )


def stream(
    seed: str, *, long: bool = False, topics: Topics = PLAIN
) -> Iterator[CorpusConversation]:
    """Conversations for ever; the same seed gives the same ones."""
    rng = Random(f"forge-tiny {seed}")
    while True:
        if long and rng.random() < 0.15:
            yield long_conversation(rng, rng.randint(10, 25), topics)
        else:
            yield conversation(rng, topics)
