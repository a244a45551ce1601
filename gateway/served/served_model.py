"""One model at work: its queue and dispatcher, its pool, and what its requests begin with."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from gateway.config.model_entry import ModelEntry
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.job import Job
from gateway.model_files.projector import media
from gateway.pool import PlacedPool, Pool, WorkerStatus
from gateway.pool.placement import REASONS
from gateway.served.adapters import ModelAdapters
from gateway.served.load_policy import State
from gateway.served.protocols import Loader
from gateway.served.revision import Revision
from workers.protocol import AdapterSet, Chat, Prompt, Question

INSTRUCTING = ("system", "developer")
"""Roles of messages in whose presence the model's own system prompt is not wanted."""


SAME = {
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "stop_sequences": "stop",
}
"""Names that dialects have for a default's field."""


class ServedModel:
    """A model with its own queue, dispatcher and pool: models share no slots.

    A reload may replace these. Until their last request has ended, there are others beside them.
    """

    def __init__(
        self, entry: ModelEntry, dispatcher: Dispatcher, pool: Pool, loader: Loader
    ) -> None:
        self.loader = loader
        self.adapters = ModelAdapters()
        self.current = Revision(entry, dispatcher, pool)
        """The one that new requests go to."""
        self.outgoing: list[Revision] = []
        """Replaced ones that finish what they began; the oldest first."""
        self.settled = asyncio.Event()
        """Not set while no worker is there only because another one comes in its place."""
        self.settled.set()
        self._gone_restarts = 0
        """Of revisions that are gone, as all that follows."""
        self._gone_placements = Counter[str](dict.fromkeys(REASONS, 0))
        self.take(entry)

    def take(self, entry: ModelEntry) -> None:
        """Serve requests that come from now on with these settings."""
        self.name = entry.name
        self.entry = entry
        self.config = entry.config
        self.preload = entry.preload
        self.system = entry.system
        self.sampling = entry.sampling
        self.aliases = entry.aliases
        self.projected = media(entry.config.projector())
        """Media that its projector takes, as its file says."""

    @property
    def dispatcher(self) -> Dispatcher:
        """Return the one that takes new requests."""
        return self.base.current.dispatcher

    @property
    def pool(self) -> Pool:
        """Return the pool that takes new requests."""
        return self.base.current.pool

    @property
    def revisions(self) -> list[Revision]:
        """Return the current one, and those that go."""
        return [self.base.current, *self.base.outgoing]

    @property
    def dispatchers(self) -> list[Dispatcher]:
        """Return those of all revisions, the current one's first."""
        return [each.dispatcher for each in self.revisions]

    def switch(self, new: Revision) -> None:
        """Serve all requests with another revision, but for those that the old one has begun."""
        old, self.current = self.current, new
        self.outgoing.append(old)
        if new in self.outgoing:  # it comes back
            self.outgoing.remove(new)
        self.take(new.entry)
        old.dispatcher.hand_over(new.dispatcher)

    def forget(self, gone: Revision) -> None:
        """Forget a revision whose workers have ended; what was counted of it stays."""
        self.outgoing.remove(gone)
        self._gone_restarts += gone.restarts
        self._gone_placements.update(gone.pool.placements())

    @property
    def base(self) -> ServedModel:
        """Return the model whose workers, weights and queue it has: itself, unless adapted."""
        return self

    @property
    def usual_adapters(self) -> AdapterSet:
        """Return the LoRA adapters of requests that say nothing of adapters."""
        return self.adapters.usual()

    def adapted(self, job: Job, may_use: Callable[[str], bool]) -> Job:
        """Return a job with its adapters. Raises BadRequest.

        ``may_use`` tells of which adapters the job's client may know, by their names.
        """
        asked = self.adapters.asked(job.lora, may_use) if job.lora else None
        adapters = self.usual_adapters if asked is None else asked
        if adapters:
            job = replace(job, params=msgspec.structs.replace(job.params, adapters=adapters))
        return job if self.base is self else replace(job, model=self.base.name, asked=self.name)

    @property
    def state(self) -> State:
        """Return whether it is loaded."""
        return self.loader.state(self.base.name)

    @property
    def on_demand(self) -> bool:
        """Return whether a request may wait for it to be loaded."""
        return self.loader.on_demand

    @property
    def expires_s(self) -> float | None:
        """Seconds until it is unloaded if no work comes; None: never."""
        return self.loader.expires_s(self.base.name)

    @property
    def need(self) -> int | None:
        """Bytes of memory that it takes while it is loaded, where they are known."""
        return self.loader.need(self.base.name)

    @property
    def restarts(self) -> int:
        """Worker processes started in the place of others, since the server's start."""
        return self._gone_restarts + sum(each.restarts for each in self.revisions)

    def placements(self) -> Mapping[str, int]:
        """Count generations given to workers since the start, by reason of the placement."""
        total = self._gone_placements.copy()
        for each in self.revisions:
            total.update(each.pool.placements())
        return total

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of all workers that may come, where they come and go."""
        pool = self.pool
        return pool.numbers if isinstance(pool, PlacedPool) else ()

    def workers(self) -> list[WorkerStatus]:
        """Its processes, those included that finish requests of before a reload."""
        return [status for each in self.revisions for status in each.pool.workers()]

    async def ask(self, question: Question, client: str) -> bytes:
        """Ask as :meth:`gateway.pool.Pool.ask` does; a model that is not there is loaded first."""
        async with self.loader.needed(self.base.name, client):
            settled = self.base.settled
            while not self.pool.ready() and not settled.is_set():
                await settled.wait()
            return await self.pool.ask(question)

    def used(self, client: str, keep_alive_s: float | None) -> None:
        """Note the end of a request of ``client``, as :class:`gateway.served.protocols.Loader`."""
        self.loader.used(self.base.name, client, keep_alive_s)

    async def load(self, client: str, *, again: bool = False) -> None:
        """Return when it is loaded, as :class:`gateway.served.protocols.Loader`."""
        await self.loader.load(self.base.name, client, again=again)

    async def unload(self, client: str | None) -> None:
        """Return when it is unloaded, as :class:`gateway.served.protocols.Loader`."""
        await self.loader.unload(self.base.name, client)

    def completed(self, raw: dict[str, Any]) -> dict[str, Any]:
        """A request's body with this model's defaults for what it does not say."""
        if not self.sampling:
            return raw
        said = {name for name, value in raw.items() if value is not None}
        if raw.get("max_tokens") == -1:  # the word for the default
            said.discard("max_tokens")
        said |= {ours for theirs, ours in SAME.items() if theirs in said}
        return raw | {name: value for name, value in self.sampling.items() if name not in said}

    def instructed(self, prompts: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
        """Conversations without a system message begin with the model's own."""
        if self.system is None:
            return prompts
        return tuple(
            self.with_system(prompt) if isinstance(prompt, Chat) else prompt for prompt in prompts
        )

    def limited(self, job: Job) -> Job:
        """Return a job with this model's limit of a thought, if it brings none.

        A thought of no token is none that the template should begin.
        """
        params, config = job.params, self.config
        limit = params.thought_limit
        if limit is None and config.reasoning_budget >= 0:
            limit = config.reasoning_budget
        if limit is None:
            return job
        last = params.thought_end or config.reasoning_budget_message
        params = msgspec.structs.replace(params, thought_limit=limit, thought_end=last)
        if limit:
            return replace(job, params=params)
        prompts = tuple(
            _thoughtless(prompt) if isinstance(prompt, Chat) else prompt for prompt in job.prompts
        )
        return replace(job, prompts=prompts, params=params)

    def shown(self, chat: Chat) -> Chat:
        """A conversation of a request that says nothing about thoughts, as its prompt is made."""
        chat = self.with_system(chat)
        return _thoughtless(chat) if self.config.reasoning_budget == 0 else chat

    def with_system(self, chat: Chat) -> Chat:
        """One conversation, likewise."""
        if self.system is None or any(
            message.get("role") in INSTRUCTING for message in chat.messages
        ):
            return chat
        first = {"role": "system", "content": self.system}
        return msgspec.structs.replace(chat, messages=[first, *chat.messages])


def _thoughtless(chat: Chat) -> Chat:
    """A conversation whose template is told not to begin a thought, unless the request says so."""
    return msgspec.structs.replace(chat, arguments={"enable_thinking": False, **chat.arguments})
