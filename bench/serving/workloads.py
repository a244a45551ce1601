"""The requests to every system alike."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial

from .client import Answer, Asker, Messages, Request
from .prompts import Prompts, arrivals
from .settings import Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run."""

    rounds: int
    words: int = 50
    tokens: int = 32
    waves: dict[int, int] = field(default_factory=lambda: {1: 6, 8: 3, 32: 2})
    """Clients of a closed loop, and how often each asks."""
    loads: tuple[float, ...] = (0.5, 0.9, 1.5)
    """Arrivals as parts of the capacity."""
    arrivals: int = 48
    shared: tuple[int, ...] = (8, 32)
    """Clients that share a system prompt."""
    system_words: int = 500
    chats: int = 4
    turns: int = 8
    streams: int = 8
    long_words: int = 3000
    long_tokens: int = 200
    """Of the streams into which the long prompt comes: they must still run when it is computed."""


@dataclass(slots=True)
class Run:
    """The answers of one workload."""

    answers: list[Answer]
    seconds: float = 0.0
    window: tuple[float, float] | None = None
    """Between which moments pauses count; None: always."""
    long: Answer | None = None
    """The long prompt's; it is not among the others."""
    prompts: list[str] = field(default_factory=list)
    """Prompts of the answers, if their repetitions are to be told."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Something to ask. ``run`` gets who is asked, prompts of its own, and the capacity."""

    name: str
    run: Callable[[Asker, Prompts, float], Awaitable[Run]]
    forge_only: bool = False
    needs_capacity: bool = False
    closed: int = 0
    """Clients of a plain closed loop, which the bare engine and llama-batched-bench do too."""
    tokens: int = 0
    """Of each answer of such a loop."""
    goodput: Callable[[Asker, Prompts, float], Awaitable[float]] | None = None
    """Seeks it for a system whose closed loop makes so many requests per second."""


@dataclass(frozen=True, slots=True)
class Sitting:
    """Workloads for which each system is started once in a round, with settings of their own."""

    settings: Settings
    workloads: list[Workload]


async def closed(
    asker: Asker,
    prompts: Prompts,
    capacity: float,
    *,
    plan: Plan,
    clients: int,
    waves: int,
    system_words: int = 0,
    cache_prompt: bool | None = None,
    spread: bool = False,
) -> Run:
    """Let so many clients ask, each of them again when it has its answer.

    With ``system_words`` all of their prompts begin with the same ones. With ``spread`` answers
    are of different lengths, of ``plan.tokens`` on average: else clients that began together stay
    together, which suits who computes all prompts at once.
    """
    system = prompts.text(system_words) if system_words else None
    asked = [
        [Request(prompts.chat(plan.words, system), tokens, cache_prompt) for tokens in each]
        for each in lengths(clients, waves, plan.tokens, spread=spread)
    ]

    async def client(requests: list[Request]) -> list[Answer]:
        return [await asker.ask(request) for request in requests]

    found = await asyncio.gather(*(client(requests) for requests in asked))
    return Run([answer for answers in found for answer in answers])


def lengths(clients: int, waves: int, tokens: int, *, spread: bool) -> list[list[int]]:
    """Tokens of each client's answers, the same in every run: ``tokens``, or so on average.

    With ``spread`` each wave has all lengths from a quarter of that on, in an order of its own.
    """
    least = tokens // 4 if spread and clients > 1 else tokens
    step = 2 * (tokens - least) / max(1, clients - 1)
    orders = [random.Random(f"{wave}").sample(range(clients), clients) for wave in range(waves)]
    return [[least + round(step * order[client]) for order in orders] for client in range(clients)]


async def poisson(
    asker: Asker, prompts: Prompts, capacity: float, *, plan: Plan, load: float
) -> Run:
    """Arrivals that wait for nobody, at a part of the capacity."""
    moments = arrivals(load * capacity, plan.arrivals, f"{plan.arrivals}")
    begin, tasks = time.perf_counter(), []
    for at in moments:
        await asyncio.sleep(max(0.0, begin + at - time.perf_counter()))
        request = Request(prompts.chat(plan.words), plan.tokens)
        tasks.append(asyncio.create_task(asker.ask(request)))
    return Run(await asyncio.gather(*tasks))


async def chat(asker: Asker, prompts: Prompts, capacity: float, *, plan: Plan) -> Run:
    """Conversations whose history grows by each answer."""

    async def conversation(questions: list[str]) -> list[Answer]:
        history: Messages = []
        found = []
        for question in questions:
            history = [*history, {"role": "user", "content": question}]
            found.append(await asker.ask(Request(history, plan.tokens)))
            history = [*history, {"role": "assistant", "content": found[-1].text}]
        return found

    asked = [[prompts.text(plan.words) for _ in range(plan.turns)] for _ in range(plan.chats)]
    found = await asyncio.gather(*(conversation(questions) for questions in asked))
    return Run([answer for answers in found for answer in answers])


async def long(asker: Asker, prompts: Prompts, capacity: float, *, plan: Plan) -> Run:
    """A long prompt comes when all streams run; pauses count until it has its first token."""
    running = [Request(prompts.chat(plan.words), plan.long_tokens) for _ in range(plan.streams)]
    big = Request(prompts.chat(plan.long_words), 2)
    tasks = [asyncio.create_task(asker.ask(request)) for request in running]
    # Everybody's first token has come when one more request, behind them all, has its answer.
    await asker.ask(Request(prompts.chat(plan.words), 1))
    late = await asker.ask(big)
    answers = await asyncio.gather(*tasks)
    window = (late.asked, late.moments[0]) if late.moments else None
    return Run([*answers], window=window, long=late)


def workloads(plan: Plan, room: int, slots: int) -> list[Workload]:
    """All of them, for a model with ``room`` tokens for a sequence, and ``slots`` sequences."""
    system = min(plan.system_words, room // 4)
    big = min(plan.long_words, int(0.7 * room) - plan.tokens)
    # A slot is left for the long prompt: else it would come when the streams are over.
    fitting = replace(plan, long_words=big, streams=max(1, min(plan.streams, slots - 1)))
    found = [
        Workload(
            f"closed loop: {clients} client{'s' * (clients > 1)}",
            partial(closed, plan=plan, clients=clients, waves=waves),
            closed=clients,
            tokens=plan.tokens,
        )
        for clients, waves in plan.waves.items()
    ]
    clients, waves = max(plan.waves.items())
    run = partial(closed, plan=plan, clients=clients, waves=waves, spread=True)
    found.append(Workload(f"answers of all lengths: {clients} clients", run))
    found += [
        Workload(f"Poisson: {load:g}x", partial(poisson, plan=plan, load=load), needs_capacity=True)
        for load in plan.loads
    ]
    for clients in plan.shared:
        run = partial(closed, plan=plan, clients=clients, waves=1, system_words=system)
        found += [
            Workload(f"shared prompt: {clients} clients", run),
            Workload(
                f"shared prompt without cache: {clients} clients",
                partial(run, cache_prompt=False),
                forge_only=True,
            ),
        ]
    return [
        *found,
        Workload(f"chat of {plan.turns} turns", partial(chat, plan=plan)),
        Workload("a long prompt into streams", partial(long, plan=fitting)),
    ]
