"""The log's line for each request: its key, times, tokens, rates, and how it ended."""

import logging
from typing import Any

import msgspec

from gateway.core.errors import BadRequest, ForgeError
from gateway.core.priority import class_of
from gateway.core.trace import Trace
from gateway.dispatch import outcome
from gateway.dispatch.figures import figures
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket
from gateway.system.log_setup import fields
from workers.protocol import Chat, Prompt

log = logging.getLogger("forge.requests")


class RequestLog:
    """Writes a line when a request ends.

    Implements :class:`gateway.dispatch.observer.Observer`.
    """

    def __init__(self, model: str, prompts: bool) -> None:
        """``model``: the model of requests that name none.

        ``prompts``: log the texts that clients wrote, too.
        """
        self._model = model
        self._prompts = prompts

    def on_end(self, ticket: Ticket) -> None:
        if log.isEnabledFor(logging.INFO):
            values = {"id": ticket.request_id, **self._who(ticket.job), **figures(ticket)}
            values |= self._error(ticket.error) | self._asked(ticket.job)
            log.info(outcome.of_ticket(ticket), extra=fields(**values))

    def on_refused(self, job: Job, error: ForgeError) -> None:
        if log.isEnabledFor(logging.INFO):
            values = self._who(job) | self._error(error) | self._asked(job)
            log.info(outcome.of_error(error, started=False), extra=fields(**values))

    def on_unparked(self, seconds: float) -> None:
        """Ignore it: the request's line has all its pauses."""

    def on_violation(self, what: str) -> None:
        """Ignore it: the dispatcher logs it."""

    def _who(self, job: Job) -> dict[str, Any]:
        return {
            "model": job.asked or job.model or self._model,
            "owner": job.owner or None,
            "class": class_of(job.priority),
            "priority": job.priority,
            **({"ignored": job.ignored} if job.ignored else {}),
            **({} if job.trace is None else _trace(job.trace)),
        }

    def _error(self, error: ForgeError | None) -> dict[str, Any]:
        if error is None:
            return {}
        # The message of a BadRequest may quote the request.
        told = self._prompts or not isinstance(error, BadRequest)
        return {"error": error.code, "reason": error.message if told else None}

    def _asked(self, job: Job) -> dict[str, Any]:
        if not self._prompts:
            return {}
        return {"prompts": [msgspec.to_builtins(_without_files(each)) for each in job.prompts]}


def _without_files(prompt: Prompt) -> Prompt:
    """Return a prompt without the bytes of its pictures and sounds, whose digests stay."""
    if not isinstance(prompt, Chat) or not prompt.media:
        return prompt
    media = [msgspec.structs.replace(each, data=b"") for each in prompt.media]
    return msgspec.structs.replace(prompt, media=media)


def _trace(trace: Trace) -> dict[str, str]:
    """Return the fields that OpenTelemetry names for logs in JSON, with the span that is kept."""
    if not trace.sampled:
        return {"trace_id": trace.trace_id, "trace_flags": "00"}
    return {"trace_id": trace.trace_id, "span_id": trace.work_span, "trace_flags": "01"}
