"""A validated request, before it has a place in the queue. Pure."""

from dataclasses import dataclass

from gateway.core.prompt_size import BYTES_PER_TOKEN, media_bytes, media_tokens
from gateway.core.trace import Trace
from workers.protocol import GenerationParams, Prompt


@dataclass(frozen=True, slots=True)
class Job:
    """A validated request: nothing downstream checks it again."""

    prompts: tuple[Prompt, ...]
    params: GenerationParams
    priority: float
    created: float
    """Unix seconds; the date that the model's template sees."""
    n: int = 1
    """Completions of each prompt."""
    timeout: float | None = None
    """Seconds from arrival to the end of the answer."""
    size: int = 0
    """Bytes of the body, the measure of what it costs to let the job wait; of media, as files."""
    owner: str = ""
    """Name of the owner whose turn it takes among the jobs of its priority."""
    weight: float = 1.0
    """The owner's share, relative to other owners."""
    cache_scope: str = ""
    """Requests of the same one share what is computed of their prompts."""
    session: str = ""
    """The conversation that it belongs to, within its scope; "": its client names none."""
    model: str = ""
    """Name of its model; "": the first."""
    client: str = ""
    """Name of its client: the model is kept loaded for each client's own time."""
    keep_alive: float | None = None
    """Seconds for which its client wants that after it; None: for the model's own time."""
    ignored: str = ""
    """The fields of the body that were ignored, as the client is told of them."""
    keeps: str = ""
    """The field that asks for probabilities which stay until the answer is whole, if one does."""
    spare: bool = False
    """True: it takes only slots that nothing else wants; see `gateway.dispatch.queues`."""
    request_id: str = ""
    """The name that clients see; "": a new one."""
    lora: tuple[tuple[int, float], ...] = ()
    """Numbers and scales of the LoRA adapters that it asks for; none: it says nothing of them."""
    asked: str = ""
    """The name of the adapter that it asks for in the place of a model; "": it is of ``model``."""
    trace: Trace | None = None
    """The trace that it belongs to, if any."""
    captured: bool = False
    """True: it is kept with its answer, and with the workers that had it."""

    @property
    def followed(self) -> bool:
        """Return whether it is noted which workers have it, and when."""
        return self.captured or (self.trace is not None and self.trace.sampled)

    @property
    def choices(self) -> int:
        """Sequences that it becomes: ``n`` for each prompt."""
        return len(self.prompts) * self.n

    def tokens(self, usual: float) -> float:
        """Tokens that one of its sequences is expected to take, if ``usual`` is a usual answer.

        What a client allows is no forecast: many always ask for thousands.
        """
        text = max(0, self.size - media_bytes(self.prompts)) / BYTES_PER_TOKEN
        prompt = (text + media_tokens(self.prompts)) / len(self.prompts)
        if not self.params.generates:
            return prompt
        limit = self.params.max_tokens
        return prompt + (usual if limit is None else min(usual, limit))
