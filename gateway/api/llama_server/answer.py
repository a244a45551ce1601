"""From a ticket's events to llama-server's answers, whole or in pieces."""

import math
from collections.abc import Iterable
from typing import Any

import orjson
from starlette.responses import Response

from gateway.api.kept_probabilities import written
from gateway.api.llama_server.body import LlamaBody
from gateway.api.llama_server.completed import AnswerSoFar, Asked, completed
from gateway.api.llama_server.errors import error_body, error_response
from gateway.api.llama_server.progress import PromptProgress
from gateway.api.llama_server.types import Completed, Likely, Probability, ReadProgress, StreamPiece
from gateway.api.openai.logprobs import FLOOR
from gateway.api.reply import Timings, answer_timings, timings
from gateway.api.sse import COMMENT
from gateway.core.errors import ForgeError
from gateway.dispatch.ticket import ClientEvent, Ticket
from gateway.served.served_model import ServedModel
from workers.protocol import Delta, Extra, Finished, Logprob, Started, TokenChance


class LlamaWriter:
    """The answers of one request. Implements :class:`gateway.api.ticket_stream.ChunkRenderer`."""

    def __init__(self, ticket: Ticket, served: ServedModel, given: LlamaBody) -> None:
        self._ticket = ticket
        self._served = served
        self._given = given
        self._stream = bool(given.stream)
        now_ns, count = served.dispatcher.stats.now_ns, len(ticket.sequences)
        self._answers = [AnswerSoFar() for _ in range(count)]
        self._predicted = [0] * count
        """Tokens of each answer that were taken: the ticket may have more already."""
        self._reading = [PromptProgress(ticket, index, now_ns) for index in range(count)]

    # A whole answer.

    @property
    def ended(self) -> bool:
        return all(answer.reason for answer in self._answers)

    def take(self, event: ClientEvent) -> None:
        """Add what the next event brings."""
        if isinstance(event, Started):
            return
        index = self._ticket.index(event)
        answer = self._answers[index]
        self._predicted[index] += len(event.ids)
        answer.newline |= "\n" in event.text
        if event.extra is not None and event.extra.prompt:
            answer.prompt = event.extra.prompt
        if isinstance(event, Finished):
            answer.reason, answer.stop = event.reason, event.stop
        if self._stream:
            return  # the client keeps the rest
        answer.text += event.text
        if self._given.return_tokens:
            answer.ids += event.ids
        if event.extra is not None and self._given.wants("completion_probabilities"):
            told = self._probabilities(event.extra)
            answer.probabilities += map(written, told)

    def whole(self) -> Any:
        """Return the answer of a request that has ended; of several answers a list."""
        found = [self._completed(index) for index in range(len(self._answers))]
        return found if len(found) > 1 else found[0]

    def _completed(self, index: int) -> Completed | dict[str, Any]:
        model = self._served.pool.model
        asked = Asked(
            self._served.name,
            0 if model is None else model.n_ctx_seq,
            self._stream,
            bool(self._given.timings_per_token),
        )
        found = completed(self._ticket, index, asked, self._answers[index])
        wanted = self._given.response_fields
        return chosen(wanted, found) if wanted else found

    # A stream.

    def event(self, event: ClientEvent) -> bytes:
        self.take(event)
        index = self._ticket.index(event)
        data = self._progress(index, event) if self._given.return_progress else b""
        if isinstance(event, Started):
            return data
        if event.ids:
            data += _data(self._piece(index, event))
        if isinstance(event, Finished):
            data += _data(self._completed(index))
        return data

    def _piece(self, index: int, event: Delta | Finished) -> StreamPiece:
        piece = self._bare(index, self._predicted[index])
        piece["content"], piece["tokens"] = event.text, event.ids
        if self._given.timings_per_token:
            piece["timings"] = answer_timings(self._ticket.sequences[index])
        if event.extra is not None and event.extra.logprobs:
            piece["completion_probabilities"] = self._probabilities(event.extra)
        return piece

    def _progress(self, index: int, event: ClientEvent) -> bytes:
        reading = self._reading[index]
        progress = reading.take(event)
        if progress is None:
            return b""
        piece = self._bare(index, 0)
        piece["prompt_progress"] = progress
        if self._given.timings_per_token:
            piece["timings"] = _while_reading(progress, reading.elapsed_ms)
        return _data(piece)

    def _probabilities(self, extra: Extra) -> list[Probability]:
        return probabilities(extra.logprobs, final=bool(self._given.post_sampling_probs))

    def _bare(self, index: int, predicted: int) -> StreamPiece:
        started = self._ticket.sequences[index].started
        return {
            "index": index,
            "content": "",
            "tokens": [],
            "stop": False,
            "id_slot": -1,
            "tokens_predicted": predicted,
            "tokens_evaluated": 0 if started is None else started.prompt_tokens,
        }

    def waiting(self) -> bytes:
        return COMMENT

    def error(self, error: ForgeError) -> bytes:
        return _data(error_body(error))

    def refusal(self, error: ForgeError) -> Response:
        return error_response(error)


def _while_reading(progress: ReadProgress, elapsed_ms: float) -> Timings:
    """Return the timings of a prompt that is not computed yet."""
    computed = progress["processed"] - progress["cache"]
    prompt_ms = elapsed_ms if computed else 0.0
    return timings(cached=progress["cache"], computed=computed, prompt_ms=prompt_ms)


def _data(value: Any) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def chosen(names: Iterable[str], found: Any) -> dict[str, Any]:
    """Return the fields that a request names, those with a slash from inside others.

    What is not there is left out.
    """
    answer: dict[str, Any] = {}
    for name in names:
        value: Any = found
        for part in name.split("/"):
            value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
        if value is not MISSING:
            answer[name] = value
    return answer


MISSING = object()


def probabilities(found: Iterable[Logprob], *, final: bool = False) -> list[Probability]:
    """Return tokens with their probabilities, as llama-server shows them.

    ``final``: those after sampling, which are told as such and not as logarithms.
    """
    return [_probability(one, final=final) for one in found]


def _probability(found: Logprob, *, final: bool) -> Probability:
    top = [_likely(each, final=final) for each in found.top]
    shown = _likely(found.chosen, final=final)
    if final:
        return {**shown, "top_probs": top}  # type: ignore[typeddict-item]
    return {**shown, "top_logprobs": top}  # type: ignore[typeddict-item]


def _likely(chance: TokenChance, *, final: bool) -> Likely:
    shown: Likely = {
        "id": chance.id,
        "token": chance.piece.decode("utf-8", "ignore"),
        "bytes": list(chance.piece),
    }
    if final:
        shown["prob"] = math.exp(chance.logprob)
    else:
        shown["logprob"] = max(chance.logprob, FLOOR)
    return shown
