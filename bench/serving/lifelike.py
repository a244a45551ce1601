"""Workloads as people and programs bring them: chats, documents, agents, edits, a batch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from .client import Answer, Asker, Messages, Request
from .conversations import LONG, Conversation, Lengths, Talk, agents, chats, edits, mixed
from .goodput import allowed, good, highest
from .prompts import Prompts, arrivals
from .settings import Settings
from .workloads import Run, Sitting, Workload

EQUAL = Talk(Lengths(50, 0, 50, 50), Lengths(32, 0, 32, 32))
FIRST = 0.4
"""Of the closed loop's rate: where goodput is sought first."""
TRY_S = 90
"""Seconds of arrivals in a try at most, about."""
Sizes = tuple[tuple[int, int], ...]
"""Numbers of clients, and of conversations for each."""
Make = Callable[[Prompts, int, int], list[Conversation]]
"""Conversations from prompts: how many, for sequences of so many tokens."""


@dataclass(frozen=True, slots=True)
class Lifelike:
    """The size of a run: clients, and how many conversations each has."""

    rounds: int = 3
    chat: Sizes = ((1, 12), (8, 6), (16, 4))
    long: Sizes = ((8, 2),)
    mixed: Sizes = ((8, 4),)
    agents: Sizes = ((6, 2),)
    turns: int = 4
    editing: Sizes = ((1, 4), (4, 3))
    functions: int = 5
    batch: Sizes = ((32, 2),)
    goodput: int = 32
    """Requests of each try at a rate of arrivals; 0: it is not sought."""


def resized(plan: Lifelike, each: int) -> Lifelike:
    """The same plan with so many conversations for each client."""

    def sized(sizes: Sizes) -> Sizes:
        return tuple((clients, each) for clients, _ in sizes)

    return replace(
        plan, chat=sized(plan.chat), long=sized(plan.long), mixed=sized(plan.mixed),
        agents=sized(plan.agents), editing=sized(plan.editing), batch=sized(plan.batch),
    )  # fmt: skip


async def hold(
    asker: Asker, conversation: Conversation, heard: Callable[[Messages, Answer], None],
    priority: str | None = None,
) -> None:  # fmt: skip
    """Have a conversation, until an error ends it."""
    history: Messages = []
    for turn in conversation:
        history = [*history, *turn.added]
        answer = await asker.ask(Request(history, turn.max_tokens, priority=priority))
        heard(history, answer)
        if answer.error:
            return
        history = [*history, {"role": "assistant", "content": answer.text}]


async def closed_loop(
    asker: Asker, prompts: Prompts, capacity: float, *, make: Make, number: int, room: int,
    clients: int, priority: str | None = None,
) -> Run:  # fmt: skip
    """Let so many clients share the conversations: each begins the next when it has done one."""
    run = Run([])
    waiting = iter(make(prompts, number, room))

    def heard(history: Messages, answer: Answer) -> None:
        run.answers.append(answer)
        run.prompts.append("\n".join(message["content"] for message in history))

    async def client() -> None:
        for conversation in waiting:
            await hold(asker, conversation, heard, priority)

    await asyncio.gather(*(client() for _ in range(clients)))
    return run


async def seek(
    asker: Asker, prompts: Prompts, closed_rate: float, *, make: Make, number: int, room: int,
    turns: int,
) -> float:  # fmt: skip
    """The goodput in requests per second; ``number`` is that of each try, if time allows."""

    async def passes(rate: float) -> bool:
        fitting = min(-(-number // turns), int(TRY_S * rate / turns))
        conversations = make(prompts, max(1, fitting), room)
        first, *_ = moments = arrivals(rate / turns, len(conversations), "goodput")
        moments = [at - first for at in moments]
        served = await open_loop(asker, conversations, moments, allowed(turns * len(conversations)))
        # What was given up is over in the server when one more request has its answer.
        await asker.ask(Request(prompts.chat(3), 1))
        return served

    return await highest(passes, FIRST * closed_rate) if closed_rate else 0.0


class Enough(Exception):
    """Raised when so many requests were served badly that the rest tells no more."""


async def open_loop(
    asker: Asker, conversations: Sequence[Conversation], moments: Sequence[float], may_fail: int
) -> bool:
    """Begin each conversation at its moment, whoever else is there; false at one failure more."""
    begin, bad, failed = time.perf_counter(), 0, asyncio.Event()

    def heard(history: Messages, answer: Answer) -> None:
        nonlocal bad
        bad += not good(answer)
        if bad > may_fail:
            failed.set()

    async def one(at: float, conversation: Conversation) -> None:
        await asyncio.sleep(max(0.0, begin + at - time.perf_counter()))
        await hold(asker, conversation, heard)

    async def stopped() -> None:
        await failed.wait()
        raise Enough

    try:
        async with asyncio.TaskGroup() as group:
            stop = group.create_task(stopped())
            each = zip(moments, conversations, strict=True)
            await asyncio.gather(*(group.create_task(one(*what)) for what in each))
            stop.cancel()
    except* Enough:
        pass
    return bad <= may_fail


def sittings(plan: Lifelike, settings: Settings, context: int, *, copies: bool) -> list[Sitting]:
    """One for each workload, with a slot for each client.

    ``context``: of the model, in tokens; ``copies``: whether it can repeat a text.
    """
    found: list[Sitting] = []

    def add(name: str, sizes: Sizes, make: Make, turns: int = 0) -> None:
        """``turns`` of a conversation, if goodput is to be sought."""
        for clients, each in sizes:
            room = min(context, settings.ctx // clients)
            at = replace(settings, slots=clients, drafts=name == "editing")
            run = partial(
                closed_loop, make=make, number=clients * each, room=room, clients=clients,
                priority="batch" if name == "batch" else None,
            )  # fmt: skip
            work = Workload(f"{name}: {clients} client{'s' * (clients > 1)}", run)
            if name == "batch":
                work = replace(work, closed=clients, tokens=EQUAL.tokens.most)
            if turns and plan.goodput and clients > 1:
                sought = partial(seek, make=make, number=plan.goodput, room=room, turns=turns)
                work = replace(work, goodput=sought)
            found.append(Sitting(at, [work]))

    add("chat", plan.chat, chats, turns=1)
    add("long", plan.long, partial(chats, talk=LONG))
    add("mixed", plan.mixed, mixed)
    add("agents", plan.agents, partial(agents, turns=plan.turns), turns=plan.turns)
    if copies:
        add("editing", plan.editing, partial(edits, functions=plan.functions))
    add("batch", plan.batch, partial(chats, talk=EQUAL))
    return found
