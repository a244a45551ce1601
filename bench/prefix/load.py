"""Chats of many turns, and many chats with one system prompt, against a live server."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any

import httpx

from bench.server import Server

ANSWER = 16
"""Tokens of each answer."""
PAUSE_S = 0.05
"""A client's pause between two turns, on average."""
WORDS = """
the a of to and in that it with as for was on are by be this have from or had but what some we can
out other were all there when up use your how said an each she which do their time if will way about
many then them write would like so these her long make thing see him two has look more day could go
come did number sound no most people my over know water than call first
"""
Params = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """The cost of one request."""

    prompt: int
    """Tokens."""
    cached: int
    """Tokens of the prompt that were not computed."""
    ttft_ms: float
    """From its arrival to its first token, on the server's clock; waiting in the queue included."""


def words(rng: random.Random, count: int) -> str:
    """A text that begins like no other."""
    return " ".join(rng.choices(WORDS.split(), k=count))


async def ask(http: httpx.AsyncClient, messages: list[dict[str, str]], params: Params) -> Answer:
    """One chat request, whose answer is appended to ``messages``. Raises RuntimeError."""
    body = {"messages": messages, "max_tokens": ANSWER, "ignore_eos": True, "timings": True}
    response = await http.post("/v1/chat/completions", json={**body, **params})
    if response.status_code != 200:
        raise RuntimeError(response.text)
    answer = response.json()
    messages.append({"role": "assistant", "content": answer["choices"][0]["message"]["content"]})
    usage = answer["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    waited_ms = 1000 * float(response.headers["X-Queue-Wait"])
    return Answer(usage["prompt_tokens"], cached, waited_ms + answer["timings"]["prompt_ms"])


async def conversations(
    server: Server, count: int, turns: int, seed: str, *, blind: bool
) -> list[list[Answer]]:
    """The turns of several conversations at once, each with a system prompt of its own.

    ``blind``: the gateway can't see that prompts begin alike, because each comes with another
    variable for the template, which the template does not use.
    """

    async def converse(rng: random.Random) -> list[Answer]:
        messages = [{"role": "system", "content": words(rng, 250)}]
        answers = []
        for _ in range(turns):
            await asyncio.sleep(rng.expovariate(1 / PAUSE_S))
            messages.append({"role": "user", "content": words(rng, 40)})
            params = {"chat_template_kwargs": {"unused": rng.random()}} if blind else {}
            answers.append(await ask(http, messages, params))
        return answers

    async with httpx.AsyncClient(base_url=server.url, timeout=600) as http:
        rngs = [random.Random(f"{seed} {number}") for number in range(count)]
        return await asyncio.gather(*map(converse, rngs))


def system_prompt(server: Server, rng: random.Random, tokens: int) -> str:
    """A text of about so many tokens."""
    text = words(rng, tokens)
    body = {"content": text, "with_pieces": True}
    pieces = httpx.post(f"{server.url}/tokenize", json=body, timeout=60).json()["tokens"]
    return "".join(piece["piece"] for piece in pieces[:tokens])


async def crowd(
    server: Server, clients: int, requests: int, system: str, seed: str, params: Params
) -> list[Answer]:
    """Run so many clients, each asking so often, all with one system prompt."""

    async def client(rng: random.Random) -> list[Answer]:
        answers = []
        for _ in range(requests):
            messages = [
                {"role": "system", "content": system},
                {"role": "user", "content": words(rng, 20)},
            ]
            answers.append(await ask(http, messages, params))
        return answers

    async with httpx.AsyncClient(base_url=server.url, timeout=600) as http:
        rngs = [random.Random(f"{seed} {number}") for number in range(clients)]
        found = await asyncio.gather(*map(client, rngs))
    return [answer for answers in found for answer in answers]
