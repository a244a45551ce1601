"""llama-server's additions to OpenAI's answers: the progress of a prompt, and ``__verbose``."""

from typing import Any

from gateway.api.llama_server.completed import AnswerSoFar, Asked, completed
from gateway.api.llama_server.progress import PromptProgress
from gateway.api.reply import Completion
from gateway.dispatch.ticket import ClientEvent, Ticket
from gateway.served.served_model import ServedModel
from workers.protocol import Extra, Finished, Started

VERBOSE, PROGRESS = "__verbose", "prompt_progress"


class Asides:
    """The fields that are told beside one request's answers."""

    def __init__(
        self, ticket: Ticket, served: ServedModel, *, progress: bool, verbose: bool
    ) -> None:
        self._ticket = ticket
        self._served = served
        now_ns, count = served.dispatcher.stats.now_ns, len(ticket.sequences)
        self._reading = [
            PromptProgress(ticket, index, now_ns) for index in range(count if progress else 0)
        ]
        self._answers = [AnswerSoFar() for _ in range(count if verbose else 0)]

    def whole(self, completions: list[Completion]) -> dict[str, Any]:
        """Return the fields of a whole answer."""
        if not self._answers:
            return {}
        first = completions[0]
        answer = AnswerSoFar(
            first.text,
            prompt=first.prompt,
            newline="\n" in first.text,
            reason=first.reason,
            stop=first.stop,
        )
        return {VERBOSE: self._completed(0, answer, stream=False)}

    def before(self, event: ClientEvent) -> dict[str, Any]:
        """Return the fields of a chunk that comes before those of an event; none: there is none."""
        if not self._reading:
            return {}
        progress = self._reading[self._ticket.index(event)].take(event)
        return {} if progress is None else {PROGRESS: progress}

    def last(self, event: ClientEvent) -> dict[str, Any]:
        """Return the fields of the chunk that ends an answer, if the event ends one."""
        if not self._answers or isinstance(event, Started):
            return {}
        index = self._ticket.index(event)
        answer = self._answers[index]
        answer.newline |= "\n" in event.text
        if event.extra is not None and event.extra.prompt:
            answer.prompt = event.extra.prompt
        if not isinstance(event, Finished):
            return {}
        answer.reason, answer.stop = event.reason, event.stop
        return {VERBOSE: self._completed(index, answer, stream=True)}

    def _completed(self, index: int, answer: AnswerSoFar, *, stream: bool) -> Any:
        model = self._served.pool.model
        context = 0 if model is None else model.n_ctx_seq
        asked = Asked(self._served.name, context, stream)
        return completed(self._ticket, index, asked, answer)


def beside(extra: Extra) -> bool:
    """Return whether an event brings nothing of the answer."""
    return bool(extra.prompt or extra.progress)
