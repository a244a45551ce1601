"""A burst of requests of mixed priorities, so that ageing can be watched."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping

from starlette.requests import Request

from gateway.api.client import client_of
from gateway.api.service import Service
from gateway.core.api_key import ApiKey
from gateway.core.cache_scope import cache_scope
from gateway.core.errors import ForgeError, QueueFull, RateLimited
from gateway.core.priority import PRIORITIES
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket
from workers.protocol import Chat, GenerationParams, Sampling

TEXT = "Tell me a long story."
TIMEOUT_S = 60.0
"""Limit of a burst: with a large model it is given up before it drains. It is there to be seen."""


class Flood:
    """Submits bursts, and reads what comes of them."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._readers: set[asyncio.Task[None]] = set()

    def start(self, request: Request, numbers: Mapping[str, int], tokens: int, now: float) -> int:
        """Submit so many requests of each class, of ``tokens`` each, in the name of the key.

        ``now`` in Unix seconds. How many were accepted: a queue that is full, or a key that has
        used up its limit, ends the burst. Raises the ForgeError that the first one met.
        """
        key: ApiKey = request.state.key
        served = self._service.find(request, None)
        if served is None:
            raise self._service.unknown(request, None)
        accepted = 0
        for kind in mixed(numbers):
            job = Job(
                (Chat([{"role": "user", "content": TEXT}]),),
                GenerationParams(
                    Sampling(seed=accepted, temperature=0.8), max_tokens=tokens, ignore_eos=True
                ),
                PRIORITIES[kind],
                now,
                timeout=TIMEOUT_S,
                size=len(TEXT),
                owner=key.name,
                client=client_of(request),
                weight=key.weight,
                cache_scope=cache_scope(key),
                model=served.name,
            )
            # A state of its own: the response is not that of any of these requests.
            alone = Request({**request.scope, "state": {"key": key}})
            try:
                ticket = self._service.submit(alone, job, served)
            except (QueueFull, RateLimited):
                if not accepted:
                    raise
                break
            accepted += 1
            reader = asyncio.create_task(_read(ticket))
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
        return accepted


def mixed(numbers: Mapping[str, int]) -> Iterator[str]:
    """Names as often as they are asked for, by turns: no class comes in one piece."""
    left = dict(numbers)
    while any(left.values()):
        for name in left:
            if left[name]:
                left[name] -= 1
                yield name


async def _read(ticket: Ticket) -> None:
    """Read to the end: a generation whose events are not taken is paused."""
    with contextlib.suppress(ForgeError):
        while not ticket.ended or ticket.pending:
            await ticket.take()
