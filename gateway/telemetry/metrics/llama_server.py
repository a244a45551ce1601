"""llama-server's metrics under its own names, for dashboards and alerts that were made for it.

All models of a server are one here, as there. Rates are those since the scrape before. What
differs: a request is counted at its end, a prompt's time runs from its slot to its first token, and
the longest sequence is a gauge.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gateway.core.clock import NANO
from gateway.core.errors import ForgeError
from gateway.core.usage import NO_DRAFTS
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket
from gateway.pool import WorkerStatus
from gateway.served.registry import ModelRegistry
from gateway.telemetry.metrics.exposition import Family, Kind


@dataclass(slots=True)
class _Work:
    """Tokens, and the time that those of them took which have one."""

    tokens: int = 0
    timed: int = 0
    ns: int = 0
    told: tuple[int, int] = (0, 0)
    """Tokens and time as of the last scrape."""

    def add(self, tokens: int, timed: int, ns: int) -> None:
        self.tokens += tokens
        self.timed += timed
        self.ns += ns

    def rate(self) -> float:
        """Return the tokens a second since the last call."""
        tokens, ns = self.timed - self.told[0], self.ns - self.told[1]
        self.told = self.timed, self.ns
        return tokens * NANO / ns if ns else 0.0


class _Steps:
    """Steps of all workers that there were, and the sequences in them: each worker counts anew."""

    def __init__(self) -> None:
        self._gone = (0, 0)
        self._last: dict[int, tuple[int, int]] = {}

    def of(self, workers: Iterable[WorkerStatus]) -> tuple[int, int]:
        """Return both sums. What a worker did after the last call before its death is lost."""
        counts = {worker.id: (worker.load.steps, worker.load.step_sequences) for worker in workers}
        for number, last in self._last.items():
            if counts.get(number, (-1, 0)) < last:
                self._gone = self._gone[0] + last[0], self._gone[1] + last[1]
        self._last = counts
        steps = self._gone[0] + sum(steps for steps, _ in counts.values())
        return steps, self._gone[1] + sum(sequences for _, sequences in counts.values())


class LlamaServerMetrics:
    """Counts requests as they end, and reads the rest at a scrape.

    Implements :class:`gateway.dispatch.observer.Observer` and
    :class:`gateway.telemetry.metrics.registry.Collector`.
    """

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._prompt, self._answer, self._steps = _Work(), _Work(), _Steps()
        self._cached = self._longest = 0
        self._drafts = NO_DRAFTS

    def on_end(self, ticket: Ticket) -> None:
        """Count a ticket that just ended."""
        usage = ticket.usage
        began, first, ended = ticket.dispatched_ns, ticket.first_token_ns, ticket.ended_ns
        read = ended if first is None else first
        computed = usage.prompt - usage.cached
        if began is not None and read is not None:
            self._prompt.add(computed, computed, read - began)
        spoke_ns = 0 if first is None or ended is None else ended - first
        self._answer.add(usage.completion, ticket.later_tokens, spoke_ns)
        self._cached += usage.cached
        self._drafts = self._drafts.plus(usage.drafts)
        for sequence in ticket.sequences:
            if sequence.started is not None:
                length = sequence.started.prompt_tokens + len(sequence.ids)
                self._longest = max(self._longest, length)

    def on_refused(self, job: Job, error: ForgeError) -> None:
        """Leave out what never began, as llama-server does."""

    def on_unparked(self, seconds: float) -> None:
        """Leave out pauses, which llama-server does not know."""

    def on_violation(self, what: str) -> None:
        """Leave bugs to Forge's own metrics."""

    def collect(self) -> Iterator[Family]:
        """Yield all families."""
        prompt, answer, drafts = self._prompt, self._answer, self._drafts
        steps, sequences = self._steps.of(worker for _, worker in self._registry.workers())
        busy = sequences / max(steps, 1)
        text = "Prompt tokens that were computed, of requests that ended"
        yield _family("counter", "prompt_tokens", text, prompt.tokens)
        text = "Prompt tokens that were computed before"
        yield _family("counter", "prompt_tokens_cached", text, self._cached)
        text = "Time from a slot to the first token"
        yield _family("counter", "prompt_seconds", text, prompt.ns / NANO)
        text = "Tokens sampled for requests that ended"
        yield _family("counter", "tokens_predicted", text, answer.tokens)
        text = "Time from the first token to the end"
        yield _family("counter", "tokens_predicted_seconds", text, answer.ns / NANO)
        yield _family("counter", "n_decode", "Steps of the workers", steps)
        text = "The longest sequence so far, prompt and answer"
        yield _family("gauge", "n_tokens_max", text, self._longest)
        text = "Tokens that were drafted"
        yield _family("counter", "spec_decode_num_draft_tokens", text, drafts.drafted)
        text = "Drafted tokens that were sampled then"
        yield _family("counter", "spec_decode_num_accepted_tokens", text, drafts.accepted)
        text = "Steps of sequences with drafts to verify"
        yield _family("counter", "spec_decode_num_drafts", text, drafts.steps)
        text = "Prompt tokens a second, since the last scrape"
        yield _family("gauge", "prompt_tokens_seconds", text, prompt.rate())
        text = "Sampled tokens a second of one sequence, since the last scrape"
        yield _family("gauge", "predicted_tokens_seconds", text, answer.rate())
        text = "Sequences with a slot"
        yield _family("gauge", "requests_processing", text, self._registry.running())
        text = "Sequences that wait for a slot"
        yield _family(
            "gauge",
            "requests_deferred",
            text,
            self._registry.depth() - self._registry.spare_depth(),
        )
        yield _family("gauge", "n_busy_slots_per_decode", "Sequences in a step, on average", busy)


def _family(kind: Kind, name: str, text: str, value: float) -> Family:
    name = f"llamacpp:{name}"
    return Family(name, kind, text, [(f"{name}_total" if kind == "counter" else name, value)])
