"""Probabilities of tokens that stay in memory until their answer has ended, and their bound. Pure.

A stream tells them as they come. An answer that is told whole keeps them, as JSON: some 90 bytes
each, for every token and every alternative of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import orjson

from gateway.core.errors import BadRequest
from gateway.dispatch.job import Job

if TYPE_CHECKING:
    from gateway.dispatch.ticket import ClientEvent

MOST = 2**19
"""Probabilities that one request may keep: of 24,966 tokens with 20 alternatives each."""


def bounded(job: Job, context: int | None) -> Job:
    """Return a job that keeps no more, whose answers are shorter if it did not say how long.

    ``context``: the tokens that the model's sequences may have, if that is known. Raises
    :class:`BadRequest` for a job that says too much.
    """
    params = job.params
    if not job.keeps or params.logprobs is None:
        return job
    most = max(1, MOST // (job.choices * (1 + params.logprobs)))
    known = (each for each in (params.max_tokens, params.context, context) if each is not None)
    longest = min(known, default=None)
    if longest is not None and longest <= most:
        return job
    if params.max_tokens is not None:
        raise _too_many(job, f"may have {most} tokens at most")
    return replace(job, params=msgspec.structs.replace(params, max_tokens=most))


def count(job: Job, event: ClientEvent, so_far: int) -> int:
    """Return the number of those that are kept, with those that an event brings.

    Raises :class:`BadRequest` if they are too many: the tokens of a prompt are told, too, and how
    many it has is not known before.
    """
    extra = getattr(event, "extra", None)
    if not job.keeps or extra is None:
        return so_far
    so_far += sum(1 + len(each.top) for each in extra.logprobs)
    if so_far > 2 * MOST:  # of the answers' tokens, and of the prompts'
        raise _too_many(job, "have too many tokens, the prompt's included")
    return so_far


def _too_many(job: Job, have: str) -> BadRequest:
    told, answers = 1 + (job.params.logprobs or 0), job.choices
    whose = "an answer" if answers == 1 else f"each of {answers} answers"
    return BadRequest(
        f"'{job.keeps}': with {told} probabilities of each token {whose} {have}, "
        f"for a request keeps {MOST} of them: ask for fewer, for shorter answers, or for a stream",
        param=job.keeps,
    )


def written(value: object) -> orjson.Fragment:
    """Return what is told of a token as JSON, in which it takes a tenth of the room."""
    # A copy: the first one has room for more, a page or a power of two.
    return orjson.Fragment(bytes(memoryview(orjson.dumps(value))))
