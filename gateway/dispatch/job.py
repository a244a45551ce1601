"""A validated request, before it has a place in the queue. Pure."""

from dataclasses import dataclass

from gateway.core.prompt_size import BYTES_PER_TOKEN
from workers.protocol import Constraint, Embedding, Prompt, Sampling


@dataclass(frozen=True, slots=True)
class Job:
    """A validated request: nothing downstream checks it again."""

    prompts: tuple[Prompt, ...]
    sampling: Sampling
    priority: float
    created: float
    """Unix seconds; the date that the model's template sees."""
    n: int = 1
    """Completions of each prompt."""
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    constraint: Constraint | None = None
    logprobs: int | None = None
    """Alternatives of each token to tell, if any."""
    echo: bool = False
    cache_prompt: bool = True
    embedding: Embedding | None = None
    """Then each prompt becomes a vector, and what says how to generate means nothing."""
    timeout: float | None = None
    """Seconds from arrival to the end of the answer."""
    size: int = 0
    """Bytes of the body, the measure of what it costs to let the job wait."""
    owner: str = ""
    """Whose turn it takes among the jobs of its priority."""
    weight: float = 1.0
    """The owner's share, relative to other owners."""
    model: str = ""
    """Which model it is for; "": the first."""

    def tokens(self, usual: float) -> float:
        """Tokens that one of its sequences is expected to take, if ``usual`` is a usual answer.

        What a client allows is no forecast: many always ask for thousands.
        """
        prompt = self.size / len(self.prompts) / BYTES_PER_TOKEN
        if self.embedding is not None:
            return prompt
        return prompt + min(usual, self.max_tokens or usual)
