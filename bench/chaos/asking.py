"""The requests of the clients: one mix of everything whose interruption could show."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal

Dialect = Literal["infer", "chat", "completions"]
MODEL = "forge-tiny"

PROMPTS = (
    "hello",
    "what is 2+2?",
    "tell me a story about a fox",
    "tell me a story about a fox and a hen",
    "what is aging?",
    "what does p99 mean?",
    "why processes?",
    "list five animals",
    "how do I set the priority?",
    "count from one to twenty",
    "give me a JSON object",
    "tell me a long story about the sea",
    "Once upon a time",
)
GREEDY: dict[str, Any] = {"temperature": 0}
SAMPLINGS: tuple[dict[str, Any], ...] = (
    GREEDY,
    GREEDY,
    {"temperature": 1.0},
    {"temperature": 0, "frequency_penalty": 1.5, "presence_penalty": 1.5},
    {"temperature": 0.8, "repeat_penalty": 2.0, "top_p": 0.9},
    {"temperature": 1.5, "top_k": 50, "min_p": 0.01, "frequency_penalty": 0.5},
)
STOPS: tuple[Any, ...] = (None, None, None, "and", [" the", "\n\n"], [".", "!", "?"])
LENGTHS = (1, 8, 24, 60, 150, 400, 1200)
"""Most tokens of an answer; the long ones live through several deaths."""
PRIORITIES: tuple[Any, ...] = ("batch", "normal", "normal", "urgent")
TIMEOUT_S = 600
"""The deadline of those that bring one: generous, so that it must never end anything."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, which always has the same answer."""

    number: int
    """Its name: who has the same number asks the same."""
    dialect: Dialect
    stream: bool
    prompt: str
    params: tuple[tuple[str, Any], ...]
    n: int = 1

    def body(self) -> dict[str, Any]:
        """The JSON, but for the model's name and the stream options."""
        fields = dict(self.params)
        if self.dialect == "infer":
            return {"query": self.prompt, **fields}
        if self.n > 1:
            fields["n"] = self.n
        if self.dialect == "completions":
            return {"prompt": self.prompt, **fields}
        return {"messages": [{"role": "user", "content": self.prompt}], **fields}

    @property
    def kind(self) -> str:
        """For tables."""
        return f"{self.dialect}{' stream' if self.stream else ''}"


def mix(count: int, seed: int) -> list[Request]:
    """``count`` different requests: dialects, streams, lengths and the rest in all combinations."""
    rng = random.Random(f"requests {seed}")
    return [_request(number, rng) for number in range(count)]


def _request(number: int, rng: random.Random) -> Request:
    dialect: Dialect = ("infer", "chat", "chat", "completions", "completions")[number % 5]
    stream = dialect != "infer" and rng.random() < 0.7
    params: dict[str, Any] = {
        **rng.choice(SAMPLINGS),
        "seed": rng.randrange(2**32),
        "max_tokens": LENGTHS[number % len(LENGTHS)],
        "priority": rng.choice(PRIORITIES),
    }
    if (stop := rng.choice(STOPS)) is not None:
        params["stop"] = stop
    if rng.random() < 0.7:  # otherwise most answers would end after a sentence
        params["ignore_eos"] = True
    if rng.random() < 0.25:
        params["timeout"] = TIMEOUT_S
    n = 2 if dialect != "infer" and rng.random() < 0.2 else 1
    return Request(number, dialect, stream, rng.choice(PROMPTS), tuple(params.items()), n)
