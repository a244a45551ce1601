"""The end of an answer in llama-server's words, which OpenAI's dialect tells, too, if asked to."""

from dataclasses import dataclass, field
from typing import cast

import orjson

from gateway.api.llama_server import settings
from gateway.api.llama_server.types import Completed, Probability, StopType
from gateway.api.reply import answer_timings
from gateway.dispatch.ticket import Ticket


@dataclass(slots=True)
class AnswerSoFar:
    """One answer of a request, as far as llama-server tells of it. It grows with the events."""

    text: str = ""
    ids: list[int] = field(default_factory=list)
    """Ids of the tokens, if they are told."""
    probabilities: list[orjson.Fragment] = field(default_factory=list)
    """Each a :class:`Probability` in JSON."""
    prompt: str = ""
    newline: bool = False
    reason: str = ""
    """The reason of its end; "" before."""
    stop: str | None = None
    """The stop string that ended it, if one did."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The facts about a request that are told."""

    model: str
    context: int
    """Tokens that a sequence may have; 0 if that is not known."""
    stream: bool
    per_token: bool = False
    """True if timings come with each token."""


def completed(ticket: Ticket, index: int, asked: Asked, answer: AnswerSoFar) -> Completed:
    """Return the answer ``index`` of a request, which has ended."""
    sequence = ticket.sequences[index]
    started, predicted = sequence.started, len(sequence.ids)
    prompt = 0 if started is None else started.prompt_tokens
    told = settings.whole(ticket.job.params, stream=asked.stream, per_token=asked.per_token)
    told["lora"] = [{"id": id_, "scale": scale} for id_, scale in ticket.job.lora]
    told["seed"] += index  # of each answer the next
    full = 0 < asked.context <= prompt + predicted
    found: Completed = {
        "index": index,
        "content": answer.text,
        "tokens": answer.ids,
        "id_slot": -1,
        "stop": True,
        "model": asked.model,
        "tokens_predicted": predicted,
        "tokens_evaluated": prompt,
        "generation_settings": told,
        "prompt": answer.prompt,
        "has_new_line": answer.newline,
        "truncated": answer.reason == "length" and full,
        "stop_type": _stop_type(answer),
        "stopping_word": answer.stop or "",
        "tokens_cached": prompt + max(0, predicted - 1),
        "timings": answer_timings(sequence),
    }
    if answer.probabilities:
        found["completion_probabilities"] = cast(list[Probability], answer.probabilities)
    return found


def _stop_type(answer: AnswerSoFar) -> StopType:
    if answer.reason == "length":
        return "limit"
    return "eos" if answer.stop is None else "word"
