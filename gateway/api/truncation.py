"""Conversations that are too long and may be cut: their oldest turns go until the rest has room.

What goes goes whole: a turn of the user with what follows it up to the next one's, or calls with
their results. Instructions stay, and so does the last turn, if it has room or not.
"""

import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from gateway.served.served_model import ServedModel
from workers.protocol import Chat, CountTokens

Plain = dict[str, Any]
Count = Callable[[list[Plain]], Awaitable[int]]
"""Tells the tokens of a conversation."""

MAX_QUESTIONS = 6
"""A conversation is counted so often at most: each time costs what a prompt does."""


async def count_tokens(served: ServedModel, chat: Chat, client: str) -> int:
    """Return the tokens of a conversation's prompt. Raises a ForgeError."""
    question = CountTokens(served.with_system(chat), time.time())
    counted = orjson.loads(await served.ask(question, client))
    return int(counted["input_tokens"])


async def truncated(messages: list[Plain], limit: Callable[[], int], count: Count) -> list[Plain]:
    """Return the conversation without so many of its oldest turns that it fits ``limit``.

    The limit is asked for once something has been counted.
    """
    tokens = await count(messages)
    groups, most = droppable(messages), limit()
    if tokens <= most or not groups:
        return messages
    sizes = [sum(len(orjson.dumps(messages[at])) for at in group) for group in groups]
    per_byte = tokens / max(1, len(orjson.dumps(messages)))
    low, high = 0, len(groups)  # dropping ``low`` is too little; ``high`` is the most there is
    guess = _enough(sizes, (tokens - most) / per_byte)
    for _ in range(MAX_QUESTIONS - 1):
        if high - low <= 1:
            break
        guess = min(max(guess, low + 1), high - 1)
        tokens = await count(without(messages, groups[:guess]))
        if tokens <= most:
            high = guess
            guess -= _enough(sizes[:guess][::-1], (most - tokens) / per_byte)
        else:
            low = guess
            guess += _enough(sizes[guess:], (tokens - most) / per_byte)
    return without(messages, groups[:high])


def _enough(sizes: list[int], size: float) -> int:
    """Return how many of the first groups have so many bytes together; all, if they have less."""
    for at, each in enumerate(sizes):
        size -= each
        if size <= 0:
            return at + 1
    return len(sizes)


def without(messages: list[Plain], groups: list[list[int]]) -> list[Plain]:
    """Return the messages that are in none of these groups of places."""
    gone = {at for group in groups for at in group}
    return [message for at, message in enumerate(messages) if at not in gone]


def droppable(messages: list[Plain]) -> list[list[int]]:
    """Return the places of messages that may go, in groups that go together, oldest first.

    A group begins with a turn of the user, or with calls, and has all of their results: these never
    stay without them, though something else may have come first.
    """
    results: dict[str, list[int]] = {}
    for at, message in enumerate(messages):
        if message["role"] == "tool":
            results.setdefault(message["tool_call_id"], []).append(at)
    groups: list[list[int]] = []
    last = -1  # result that the newest group waits for
    for at, message in enumerate(messages):
        if message["role"] == "system":
            continue
        calls = message.get("tool_calls", ())
        if not groups or (at > last and (message["role"] == "user" or calls)):
            groups.append([])
        groups[-1].append(at)
        last = max([last, *(_after(at, results.get(call["id"], [])) for call in calls)])
    return groups[:-1]


def _after(at: int, places: list[int]) -> int:
    """Return the first of some places behind one; that one if there is none."""
    found = bisect_right(places, at)
    return places[found] if found < len(places) else at
