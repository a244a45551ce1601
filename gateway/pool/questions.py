"""Questions to workers: short ones, which wait behind no generation and hold no credit."""

from collections.abc import Callable, Sequence

from gateway.core.errors import QueueFull, Unavailable, WorkerFailed, from_worker
from gateway.pool.link import WorkerLink
from workers.protocol import Question, QuestionFailed

OPEN = 64
"""Questions that one worker may have: each is a body in memory, and takes its turn."""
ATTEMPTS = 3
"""Workers that may die with a question. It takes milliseconds, so it may well be the reason."""


async def ask(workers: Callable[[], Sequence[WorkerLink]], question: Question) -> bytes:
    """The answer of one of ``workers()``, all of which must be ready, as JSON.

    If that one dies first, another is asked. Raises a ForgeError: Unavailable without a worker,
    QueueFull if all have enough to answer, WorkerFailed after ATTEMPTS, or what the worker says.
    A caller that is cancelled leaves nothing but a question whose answer is dropped.
    """
    for attempt in range(ATTEMPTS):
        worker = min(workers(), key=lambda link: link.questions, default=None)
        if worker is None:
            raise Unavailable("no worker is ready", retry_after=1)
        if worker.questions >= OPEN and not attempt:  # one that was taken on is not sent away
            raise QueueFull("too many questions wait for their answers", retry_after=1)
        answer = await worker.ask(question)
        if isinstance(answer, QuestionFailed):
            raise from_worker(answer)
        if answer is not None:
            return answer.json
    raise WorkerFailed(f"{ATTEMPTS} workers died while answering this")
