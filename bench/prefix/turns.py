"""`python -m bench.prefix.turns --model NAME|FILE`: what is computed again, turn by turn?

One worker with one slot, and long prompts: the same prompt twice, a regenerated answer, an edited
last turn, an answer without the thoughts that came with it, two chats in turns, and a generation
that was parked for an urgent one. Memory that can't be cut (sliding windows, recurrent states)
finds such beginnings only where a state of it was kept. A model is a file, or a name that
`bench.models` knows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import Progress

from bench import models
from bench.environment import commit, machine
from bench.scheduler.report import Table
from bench.server import Server, running

from .__main__ import RESULTS
from .load import Answer, ask, words

LAST = 30
"""Words of a chat's last question."""
Messages = list[dict[str, str]]


class Chat:
    """A client of a server with one slot, and texts that begin like no others."""

    def __init__(self, server: Server, http: httpx.AsyncClient, length: int) -> None:
        """``length``: of a long prompt, in words."""
        self.server, self.http, self.length = server, http, length
        self._rng = random.Random(length)

    def long(self) -> Messages:
        """Return a conversation's beginning: instructions and a long question."""
        system, user = words(self._rng, self.length // 5), words(self._rng, 4 * self.length // 5)
        return [{"role": "system", "content": system}, {"role": "user", "content": user}]

    def question(self) -> dict[str, str]:
        """Return a short question."""
        return {"role": "user", "content": words(self._rng, LAST)}

    async def say(self, messages: Messages) -> Answer:
        """Ask; the answer is appended to the messages."""
        return await ask(self.http, messages, {"temperature": 0})


async def twice(chat: Chat) -> float:
    """The same prompt twice."""
    prompt = chat.long()
    await chat.say([*prompt])
    return share(await chat.say([*prompt]))


async def regenerated(chat: Chat) -> float:
    """The answer of a second turn is asked for again."""
    messages = chat.long()
    await chat.say(messages)
    messages.append(chat.question())
    await chat.say([*messages])
    return share(await chat.say([*messages]))


async def edited(chat: Chat) -> float:
    """The question of a second turn is another one."""
    messages = chat.long()
    await chat.say(messages)
    await chat.say([*messages, chat.question()])
    return share(await chat.say([*messages, chat.question()]))


async def thoughts(chat: Chat) -> float:
    """The next turn brings the answer back without its beginning, as templates drop thoughts."""
    messages = chat.long()
    await chat.say(messages)
    messages[-1] = {"role": "assistant", "content": messages[-1]["content"][-20:]}
    return share(await chat.say([*messages, chat.question()]))


async def in_turns(chat: Chat) -> float:
    """Two chats on one slot; the second turn of the first one counts."""
    first, second = chat.long(), chat.long()
    await chat.say(first)
    await chat.say(second)
    return share(await chat.say([*first, chat.question()]))


async def parked(chat: Chat) -> float:
    """A running generation makes room for an urgent one, and goes on after it.

    Raises RuntimeError if it does not.
    """
    before = computed(chat.server)
    body = {"messages": chat.long(), "max_tokens": 400, "ignore_eos": True, "stream": True,
            "stream_options": {"include_usage": True}, "priority": "batch"}  # fmt: skip
    urgent: asyncio.Task[Answer] | None = None
    usage: dict[str, Any] = {}
    path = "/v1/chat/completions"
    async with chat.http.stream("POST", path, json=body) as response:
        async for line in response.aiter_lines():
            chunk = json.loads(line[6:]) if line.startswith("data: {") else {}
            given = [each["delta"].get("content") for each in chunk.get("choices", ())]
            if urgent is None and any(given):
                urgent = asyncio.create_task(
                    ask(chat.http, [chat.question()], {"priority": "urgent"})
                )
            usage = chunk.get("usage") or usage
    if urgent is None or not urgent.done():
        raise RuntimeError("the urgent request did not come between")
    between = urgent.result()
    prompt: int = usage["prompt_tokens"]
    needed = prompt + between.prompt - between.cached
    return 1 - (computed(chat.server) - before - needed) / prompt


CASES: dict[str, Callable[[Chat], Awaitable[float]]] = {
    "the same prompt twice": twice,
    "the last answer regenerated": regenerated,
    "the last question edited": edited,
    "thoughts left out": thoughts,
    "two chats in turns": in_turns,
    "parked for an urgent one": parked,
}


def share(answer: Answer) -> float:
    """Return the part of a prompt that was not computed."""
    return answer.cached / answer.prompt


def computed(server: Server) -> int:
    """Return the tokens of prompts that the worker computed so far."""
    (worker,) = server.workers()
    found: int = worker["prefill_tokens"]
    return found


async def measure(server: Server, length: int) -> dict[str, float]:
    """Play all cases, one after the other; the share of each prompt that was there."""
    async with httpx.AsyncClient(base_url=server.url, timeout=600) as http:
        chat = Chat(server, http, length)
        return {name: await case(chat) for name, case in CASES.items()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.prefix.turns", description=__doc__)
    parser.add_argument("--model", action="append", required=True, metavar="NAME|FILE")
    parser.add_argument("--words", type=int, default=1700, help="of a prompt (default: 1700)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the table")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    found = {name: play(name, args.words) for name in args.model}
    rows = [[case, *(f"{100 * each[case]:.0f} %" for each in found.values())] for case in CASES]
    note = f"Prompts of {args.words} words."
    table = Table("Found of a prompt", note, ["", *(Path(name).stem for name in found)], rows)
    Console().print(table.rich())
    facts = machine()
    preface = f"# Turns\n\n{datetime.now(UTC):%Y-%m-%d}, {facts['cpu']}, Forge {commit()}.\n"
    (args.out / "prefix-turns.md").write_text("\n".join([preface, table.markdown()]), "utf-8")


def play(model: str, length: int) -> dict[str, float]:
    """Return what one model's server found of each prompt."""
    with Progress(transient=True) as bar:
        path = Path(model) if Path(model).exists() else models.model(model, models.cache(), bar)
    # A tiny model is done before the half of a second for which a request keeps its slot.
    shape = ("--model", str(path), "--workers", "1", "--slots", "1", "--ctx", "4096",
             "--speculative", "off", "--quantum", "0")  # fmt: skip
    with running(*shape) as server:
        return asyncio.run(measure(server, length))


if __name__ == "__main__":
    main()
