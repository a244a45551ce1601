"""Counts and times of requests, by their class."""

from collections.abc import Callable, Iterator
from itertools import product

from gateway.core.errors import ForgeError, codes
from gateway.core.priority import CLASSES, class_of
from gateway.core.usage import Usage
from gateway.dispatch.job import Job
from gateway.dispatch.outcome import OUTCOMES, Outcome, of_error, of_ticket
from gateway.dispatch.ticket import Meter, Ticket
from gateway.telemetry.metrics.exposition import Family, Labels, series
from gateway.telemetry.metrics.instruments import Buckets, Histogram, TokenMeter, TracedMeter
from gateway.telemetry.metrics.models import ModelLabels
from gateway.telemetry.metrics.registry import Registry

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
GAPS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)


class Requests:
    """Requests, counted when they are refused, when they end, and when a token comes."""

    def __init__(self, registry: Registry, labels: ModelLabels, now_s: Callable[[], float]) -> None:
        """``labels`` of models; the first is the default. ``now_s``: Unix seconds."""
        self._labels = labels
        self._now_s = now_s
        models = self._models = labels.all
        of_model: Labels = {"model": models}
        by_class: Labels = {"class": CLASSES, **of_model}
        self._ended = registry.counter(
            "requests", "Requests by how they ended", {**by_class, "outcome": OUTCOMES}
        )
        self._errors = registry.counter(
            "error_responses", "Errors answered, by code", {"code": codes()}
        )
        self._tokens = _Tokens(registry, of_model)
        self._waits = _Waits(registry, by_class, now_s)
        text = "Time between two tokens of a sequence"
        self._latency = registry.seconds("inter_token_latency", text, GAPS, by_class)
        self._gaps: dict[tuple[str, str], Buckets] = {}
        self._meters: dict[tuple[str, str], TokenMeter] = {}
        for model in models:
            self.grow(model)
        registry.add(self)

    def grow(self, model: str) -> None:
        """Count the tokens of one model more, whose series there are."""
        for kind in product(CLASSES, (model,)):
            self._gaps[kind] = self._latency.of(*kind)
            self._meters[kind] = TokenMeter(self._gaps[kind])

    def meter(self, job: Job) -> Meter:
        """Return the meter that counts a job's tokens."""
        kind, trace = self._kind(job), job.trace
        meter = self._meters[kind]
        if trace is None or not trace.sampled:
            return meter
        return TracedMeter(meter, self._gaps[kind], trace, self._now_s)

    def _kind(self, job: Job) -> tuple[str, str]:
        """Return the labels of a request: its class and its model."""
        return class_of(job.priority), self._labels.of(job.model or self._models[0])

    def gaps(self) -> list[int]:
        """Times between two tokens since the start: how many in each bucket of :data:`GAPS`."""
        return [
            sum(counts)
            for counts in zip(*(each.counts for each in self._gaps.values()), strict=True)
        ]

    def refused(self, job: Job, error: ForgeError) -> None:
        """Count a request that was refused."""
        ending = of_error(error, started=False)
        self._ended.add((*self._kind(job), ending))

    def answered(self, error: ForgeError) -> None:
        """Count an error that was answered, also where no job ever began."""
        self._errors.add((error.code,))

    def ended(self, ticket: Ticket) -> Outcome:
        """Count a ticket that has just ended; return how it ended."""
        kind = self._kind(ticket.job)
        ending = of_ticket(ticket)
        self._ended.add((*kind, ending))
        usage, params = ticket.usage, ticket.job.params
        cacheable = params.cache_prompt and params.generates
        self._tokens.ended(usage, kind[1], cacheable=cacheable)
        self._waits.ended(ticket, kind)
        if ending == "finished":
            self._waits.finished(ticket, usage, kind)
        return ending

    def collect(self) -> Iterator[Family]:
        """Yield the tokens that the meters count."""
        name, text = "forge_generation_tokens", "Tokens sampled, those of running requests included"
        totals = dict.fromkeys(self._models, 0)
        for (_, model), meter in self._meters.items():
            totals[model] += meter.tokens
        lines = [(series(f"{name}_total", {"model": each}), n) for each, n in totals.items()]
        yield Family(name, "counter", text, lines)


class _Tokens:
    """Tokens of prompts and drafts; those of answers are counted one by one."""

    def __init__(self, registry: Registry, labels: Labels) -> None:
        text = "Prompt tokens of requests that ended"
        self._prompt = registry.counter("prompt_tokens", text, labels)
        text = "Prompt tokens that were looked up in the prefix cache"
        self._queried = registry.counter("prefix_cache_queried_tokens", text, labels)
        text = "Prompt tokens that were computed before"
        self._hit = registry.counter("prefix_cache_hit_tokens", text, labels)
        text = "Steps of sequences with drafts to verify, of requests that ended"
        self._drafts = registry.counter("spec_decode_drafts", text, labels)
        text = "Tokens drafted from the text of their requests and computed ahead"
        self._drafted = registry.counter("spec_decode_draft_tokens", text, labels)
        text = "Drafted tokens that were sampled then"
        self._accepted = registry.counter("spec_decode_accepted_tokens", text, labels)

    def ended(self, usage: Usage, model: str, *, cacheable: bool) -> None:
        self._prompt.add((model,), usage.prompt)
        if cacheable:
            self._queried.add((model,), usage.prompt)
            self._hit.add((model,), usage.cached)
        if usage.drafts.steps:
            self._drafts.add((model,), usage.drafts.steps)
            self._drafted.add((model,), usage.drafts.drafted)
            self._accepted.add((model,), usage.drafts.accepted)


class _Waits:
    """Durations of a request's parts, and its size in tokens."""

    def __init__(self, registry: Registry, labels: Labels, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        text = "Time from arrival to a worker"
        self._queue = registry.seconds("queue_wait", text, SECONDS, labels)
        text = "Time from arrival to the first token"
        self._first = registry.seconds("time_to_first_token", text, SECONDS, labels)
        text = "Time from arrival to the end, of finished requests"
        self._whole = registry.seconds("e2e_request_latency", text, SECONDS, labels)
        text = "Prompt tokens of finished requests"
        self._prompt = registry.histogram("request_prompt_tokens", text, TOKENS, labels)
        text = "Tokens sampled for finished requests"
        self._answer = registry.histogram("request_generation_tokens", text, TOKENS, labels)

    def ended(self, ticket: Ticket, kind: tuple[str, str]) -> None:
        arrived = ticket.arrived_ns
        if ticket.dispatched_ns is not None:
            self._observe(self._queue, ticket, kind, ticket.dispatched_ns - arrived)
        if ticket.first_token_ns is not None:
            self._observe(self._first, ticket, kind, ticket.first_token_ns - arrived)

    def finished(self, ticket: Ticket, usage: Usage, kind: tuple[str, str]) -> None:
        assert ticket.ended_ns is not None
        self._observe(self._whole, ticket, kind, ticket.ended_ns - ticket.arrived_ns)
        self._prompt.of(*kind).observe(usage.prompt)
        self._answer.of(*kind).observe(usage.completion)

    def _observe(
        self, histogram: Histogram, ticket: Ticket, kind: tuple[str, str], value_ns: int
    ) -> None:
        """Count a duration; that of a request whose spans are kept is its bucket's example, too."""
        buckets, trace = histogram.of(*kind), ticket.job.trace
        buckets.observe(value_ns)
        if trace is not None and trace.sampled:
            buckets.keep(value_ns, trace, self._now_s())
