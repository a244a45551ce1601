"""A pool in memory whose workers answer at once, with a text that says nothing."""

import asyncio
from array import array
from typing import Final

from tests.support.memory_pool import MemoryPool
from tests.support.server import ALIAS
from workers.protocol import Extra, Finished, Generate, ModelInfo, Question

TOKENS: Final = 3
"""Of an answer without a limit."""
CONTEXT: Final = 2048
MODEL: Final = ModelInfo(
    name=ALIAS, description="computes nothing", n_params=1, size_bytes=1, n_vocab=2048,
    n_ctx_train=CONTEXT, n_ctx=CONTEXT, n_ctx_seq=CONTEXT, longest_piece=16,
    n_embd=64,
)  # fmt: skip


class AnsweringPool(MemoryPool):
    """Plays its workers, too: each generation begins, brings its tokens, and ends."""

    def __init__(self, *slots: int) -> None:
        super().__init__(*slots)
        self.model = MODEL

    def submit(self, request: Generate, session: str = "") -> int:
        worker = super().submit(request, session)
        asyncio.get_running_loop().call_soon(self._answer, request)
        return worker

    async def ask(self, question: Question) -> bytes:
        """Refuse: the answer is the model's. Raises NotImplementedError."""
        raise NotImplementedError(question)

    def _answer(self, request: Generate) -> None:
        # A client may have left before its generation begins.
        if request.id in self.cancelled:
            self.finish(request.id, "cancelled")
            return
        self.begin(request.id)
        if request.params.embedding is not None:
            self._embed(request)
            return
        limit = request.params.max_tokens
        tokens = TOKENS if limit is None else limit
        if tokens > 1:
            self.progress(request.id, tokens - 1)
        self.finish(request.id, "stop" if limit is None else "length")

    def _embed(self, request: Generate) -> None:
        """The first unit vector."""
        self._release(request.id)
        vector = array("f", [1.0, *[0.0] * (MODEL.n_embd - 1)]).tobytes()
        extra = Extra(vector=vector)
        self.listener.on_event(Finished(request.id, request.attempt, "stop", [], "", extra))
        self.listener.on_credit()
