"""What the dialects are given: the dispatcher, the configuration, and facts about the model."""

import time
from dataclasses import dataclass, field

from gateway.config import Config
from gateway.dispatcher import Dispatcher
from gateway.errors import ContextOverflow
from gateway.pool import Pool
from gateway.ticket import Job, Ticket
from workers.protocol import Text


@dataclass(frozen=True, slots=True)
class Service:
    """Shared by all endpoints of one process."""

    config: Config
    dispatcher: Dispatcher
    pool: Pool
    started: int = field(default_factory=lambda: int(time.time()))
    """Unix seconds."""

    def submit(self, job: Job) -> Ticket:
        """Queue a job. Raises ContextOverflow if its bytes alone show that it can't fit."""
        model = self.pool.model
        if model is not None:
            size = _least_bytes(job)
            if size > model.n_ctx_seq * model.longest_piece:
                raise ContextOverflow(
                    f"a prompt of {size} bytes can't fit the context of {model.n_ctx_seq} tokens"
                )
        return self.dispatcher.submit(job)


def _least_bytes(job: Job) -> int:
    """Bytes that are certain to be in the prompt: a template may drop older assistant turns."""
    if isinstance(job.prompt, Text):
        return len(job.prompt.text.encode())
    return sum(len(m["content"].encode()) for m in job.prompt.messages if m["role"] == "user")
