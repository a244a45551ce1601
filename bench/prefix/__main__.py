"""`python -m bench.prefix [--quick]`: what is it worth that nothing is computed twice?

Two workers. First, several conversations of several turns at random times: how much of each prompt
was there already, with the gateway looking for it and with a gateway that looks at the load alone.
Then many clients with one system prompt: the time to the first token with the prefix cache and
without. Ways take turns on one server.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bench.server import Server, running

from .load import ANSWER, Answer, Params, conversations, crowd, system_prompt

RESULTS = Path(__file__).parent.parent / "results"
WORKERS = 2
SHAPE = ("--workers", f"{WORKERS}", "--slots", "8", "--threads", "1", "--alias", "forge-tiny")
BLIND = {"by prefix": False, "by load alone": True}
CACHE: dict[str, Params] = {"cache on": {}, "`cache_prompt: false`": {"cache_prompt": False}}


@dataclass(frozen=True, slots=True)
class Plan:
    rounds: int
    conversations: int
    turns: int
    clients: tuple[int, ...]
    requests: int
    """Of each client."""
    system: int
    """Tokens of the system prompt that all clients share."""


FULL = Plan(10, 8, 6, (8, 32), 4, 500)
QUICK = Plan(2, 8, 4, (8, 32), 2, 500)


@dataclass(frozen=True, slots=True)
class Turns:
    """A round of conversations. Counts are tokens."""

    prompts: int
    """Of all turns but the first of each."""
    known: int
    """Of these prompts, what their conversations had before: it could all be cached."""
    cached: int
    ttft_ms: float
    """Median."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A round of clients with one system prompt."""

    ttft_ms: float
    """Median."""
    computed: int
    """Tokens of prompts that the workers computed."""
    times: int
    """Requests that computed most of the system prompt."""


def turns_of(found: list[list[Answer]]) -> Turns:
    """Return the outcome of the later turns."""
    pairs = [pair for answers in found for pair in pairwise(answers)]
    return Turns(
        prompts=sum(answer.prompt for _, answer in pairs),
        known=sum(before.prompt for before, _ in pairs),
        cached=sum(answer.cached for _, answer in pairs),
        ttft_ms=median(answer.ttft_ms for _, answer in pairs),
    )


def computed(server: Server) -> int:
    """Tokens of prompts that the workers computed so far."""
    return sum(worker["prefill_tokens"] for worker in server.workers())


def shared_by(server: Server, plan: Plan, clients: int, params: Params, seed: str) -> Shared:
    """One round of one way, with a system prompt that is new."""
    system = system_prompt(server, random.Random(seed), plan.system)
    before = computed(server)
    answers = asyncio.run(crowd(server, clients, plan.requests, system, seed, params))
    times = sum(answer.cached < plan.system / 2 for answer in answers)
    ttft = median(answer.ttft_ms for answer in answers)
    return Shared(ttft, computed(server) - before, times)


def turned(names: Iterable[str], turn: int) -> list[str]:
    """Everybody comes first as often."""
    names = [*names]
    return names[turn % len(names) :] + names[: turn % len(names)]


Found = tuple[dict[str, list[Turns]], dict[tuple[int, str], list[Shared]]]


def measure(server: Server, plan: Plan, console: Console) -> Found:
    """All ways, taking turns."""
    chats: dict[str, list[Turns]] = {name: [] for name in BLIND}
    crowds: dict[tuple[int, str], list[Shared]] = {
        (clients, name): [] for clients in plan.clients for name in CACHE
    }
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("rounds", total=plan.rounds)
        for turn in range(plan.rounds):
            for name in turned(BLIND, turn):
                size = plan.conversations, plan.turns
                talk = conversations(server, *size, f"{name} {turn}", blind=BLIND[name])
                chats[name].append(turns_of(asyncio.run(talk)))
            for clients in plan.clients:
                for name in turned(CACHE, turn):
                    seed = f"{clients} {name} {turn}"
                    found = shared_by(server, plan, clients, CACHE[name], seed)
                    crowds[clients, name].append(found)
            bar.advance(task)
    return chats, crowds


def report(found: Found, plan: Plan) -> str:
    """The results as Markdown."""
    chats, crowds = found
    lines = [
        "# Nothing computed twice", "",
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()} on {platform.system()} "
        f"{platform.machine()}, {WORKERS} workers with one thread each, the embedded model, "
        f"answers of {ANSWER} tokens. {plan.rounds} rounds in which the ways take turns; medians "
        "of rounds.", "",
        f"{plan.conversations} conversations of {plan.turns} turns, each with a system prompt of "
        "its own, at random times. *Found*: of what a conversation's earlier prompt held, the part "
        "that was not computed again. The time to the first token is the median of all turns but "
        "the first.", "",
        "| placement | found | computed of later prompts | TTFT p50, ms | ratio |",
        "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    base = chats["by load alone"]
    for name, rounds in chats.items():
        pairs = list(zip(rounds, base, strict=True))
        lines.append(
            f"| {name} | {percent(min(t.cached, t.known) / t.known for t in rounds)} "
            f"| {percent(1 - t.cached / t.prompts for t in rounds)} "
            f"| {median(t.ttft_ms for t in rounds):.1f} "
            f"| {median(t.ttft_ms / b.ttft_ms for t, b in pairs):.2f} |"
        )
    lines += [
        "", f"Clients that share a system prompt of {plan.system} tokens, a new one in each "
        f"round, and ask {plan.requests} times each. *Computed it*: requests that computed most "
        "of the system prompt, the most in any round. The time to the first token contains the "
        "wait for one of 16 slots.", "",
        "| clients | | TTFT p50, ms | ratio | prompt tokens computed | computed it | requests |",
        "|---:|---|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    off = list(CACHE)[-1]
    for (clients, name), of_way in crowds.items():
        ratios = [s.ttft_ms / b.ttft_ms for s, b in zip(of_way, crowds[clients, off], strict=True)]
        lines.append(
            f"| {clients} | {name} | {median(s.ttft_ms for s in of_way):.1f} "
            f"| {median(ratios):.2f} | {median(s.computed for s in of_way):.0f} "
            f"| {max(s.times for s in of_way)} | {clients * plan.requests} |"
        )
    return "\n".join([*lines, ""])


def percent(parts: Iterable[float]) -> str:
    """The median as text."""
    return f"{100 * median(parts):.0f} %"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.prefix", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few rounds only")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the table")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    plan, console = QUICK if args.quick else FULL, Console()
    with running(*SHAPE) as server:
        server.wait_ready()
        text = report(measure(server, plan, console), plan)
    console.print(text)
    (args.out / "prefix.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
