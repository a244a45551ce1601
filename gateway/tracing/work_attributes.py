"""Attributes of the span of a request's work: OpenTelemetry's, vLLM's, and Forge's own.

No prompt, no answer, no stop text: nothing that a client wrote, but numbers.
"""

from gateway.core.clock import NANO
from gateway.core.priority import class_of
from gateway.dispatch import outcome
from gateway.dispatch.course import Moment
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket
from gateway.tracing.span import Attributes
from workers.protocol import Chat, JsonSchema

PROVIDER = "forge"
MOST_REASONS = 128


def operation(job: Job) -> str:
    """Return the name of what a job does, in OpenTelemetry's words where it has one."""
    if job.params.embedding is not None:
        return "embeddings"
    if job.params.ranking is not None:
        return "rerank"
    return "chat" if isinstance(job.prompts[0], Chat) else "text_completion"


def work_attributes(ticket: Ticket, model: str) -> Attributes:
    """Return the attributes of a ticket that has ended."""
    job = ticket.job
    found = _asked(job, model)
    if job.trace is not None:
        found["gen_ai.request.stream"] = job.trace.streamed
    found |= _answered(ticket, model)
    found |= _times(ticket)
    found |= _own(ticket)
    return found


def _asked(job: Job, model: str) -> Attributes:
    """Return the parameters of a request. Those that change nothing are left out."""
    params, sampling = job.params, job.params.sampling
    found: Attributes = {
        "gen_ai.operation.name": operation(job),
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": model,
    }
    if job.n > 1:
        found["gen_ai.request.choice.count"] = job.n
    if not params.generates:
        return found
    found["gen_ai.request.n"] = job.n
    found["gen_ai.output.type"] = "json" if isinstance(params.constraint, JsonSchema) else "text"
    found["gen_ai.request.temperature"] = sampling.temperature
    found["gen_ai.request.top_p"] = sampling.top_p
    found["gen_ai.request.seed"] = sampling.seed
    if params.max_tokens is not None:
        found["gen_ai.request.max_tokens"] = params.max_tokens
    if sampling.top_k:
        found["gen_ai.request.top_k"] = sampling.top_k
    if sampling.frequency_penalty:
        found["gen_ai.request.frequency_penalty"] = sampling.frequency_penalty
    if sampling.presence_penalty:
        found["gen_ai.request.presence_penalty"] = sampling.presence_penalty
    return found


def _answered(ticket: Ticket, model: str) -> Attributes:
    """Return what came of it: tokens and ends."""
    usage = ticket.usage
    found: Attributes = {
        "gen_ai.response.id": ticket.request_id,
        "gen_ai.response.model": model,
        "gen_ai.usage.input_tokens": usage.prompt,
        "gen_ai.usage.output_tokens": usage.completion,
        "gen_ai.usage.cache_read.input_tokens": usage.cached,
        "gen_ai.request.id": ticket.request_id,
        "gen_ai.usage.prompt_tokens": usage.prompt,
        "gen_ai.usage.completion_tokens": usage.completion,
        "gen_ai.usage.num_sequences": len(ticket.sequences),
        "forge.prefix.cached_tokens": usage.cached,
    }
    reasons = [each.reason for each in ticket.sequences if each.reason is not None]
    if reasons and ticket.job.params.generates:
        found["gen_ai.response.finish_reasons"] = reasons[:MOST_REASONS]
    if ticket.error is not None and outcome.of_ticket(ticket) != "cancelled":
        found["error.type"] = ticket.error.code
    if usage.drafts.steps:
        found["forge.draft.tokens"] = usage.drafts.drafted
        found["forge.draft.accepted_tokens"] = usage.drafts.accepted
    return found


def _times(ticket: Ticket) -> Attributes:
    """Return the durations of its parts in seconds, under vLLM's names and OpenTelemetry's."""
    arrived, started = ticket.arrived_ns, ticket.dispatched_ns
    first, ended = ticket.first_token_ns, ticket.ended_ns
    last = max((each.last_token_ns or 0 for each in ticket.sequences), default=0) or None
    found: Attributes = {}

    def tell(name: str, since: int | None, until: int | None) -> None:
        if since is not None and until is not None:
            found[name] = (until - since) / NANO

    tell("gen_ai.latency.time_in_queue", arrived, started)
    tell("gen_ai.latency.time_to_first_token", arrived, first)
    tell("gen_ai.latency.e2e", arrived, ended)
    tell("gen_ai.latency.time_in_model_prefill", started, first)
    tell("gen_ai.latency.time_in_model_decode", first, last)
    tell("gen_ai.latency.time_in_model_inference", started, last)
    if ticket.job.trace is not None and ticket.job.trace.streamed:
        tell("gen_ai.response.time_to_first_chunk", arrived, first)
    tell("forge.queue.wait", arrived, started)
    return found


def _own(ticket: Ticket) -> Attributes:
    """Return what only Forge knows."""
    job = ticket.job
    found: Attributes = {
        "forge.priority": job.priority,
        "forge.class": class_of(job.priority),
        "forge.outcome": outcome.of_ticket(ticket),
        "forge.parked.seconds": sum(each.parked_ns for each in ticket.sequences) / NANO,
        "forge.spare": job.spare,
    }
    if job.owner:
        found["forge.owner"] = job.owner
    moments = [m for s in ticket.sequences if s.course is not None for m in s.course.moments]
    happened = {moment.what for moment in moments}
    found["forge.preempted"] = "preempted" in happened
    found["forge.retried"] = "lost" in happened
    had = [moment for moment in moments if moment.worker is not None]
    if had:
        found.update(worker_of(had[-1]))
    return found


def worker_of(moment: Moment) -> Attributes:
    """Return what tells the worker that had a sequence from a moment on."""
    found: Attributes = {} if moment.worker is None else {"forge.worker.id": moment.worker}
    if moment.node is not None:
        found["forge.worker.node"] = moment.node
    return found
