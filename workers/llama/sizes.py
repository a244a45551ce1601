"""The sizes of a context's buffers, from llama.cpp's own account of them.

A model loaded without its weights (``no_alloc``) makes contexts without memory: llama.cpp plans
the same buffers and logs their sizes, within milliseconds. The log is its only account that the C
API gives; the exact version of llama.cpp that a build has is pinned, and a test compares these
sizes with those of real contexts.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager

import msgspec

from workers.llama.context import Context, EmbeddingContext, geometries
from workers.llama.library import extra_buffers, log
from workers.llama.model import Model
from workers.protocol import ContextMemory, WorkerSpec

MIB = 1 << 20
MOST_CELLS = 1 << 20
"""Even a context without memory has some bytes for each cell. Sizes of longer ones are extrapolated
in a straight line: each cell adds as much."""
CELLS = re.compile(r"llama_kv_cache: size = +([\d.]+) MiB")
STATES = re.compile(r"llama_memory_recurrent: size = +([\d.]+) MiB")
BUFFER = re.compile(r"(\S+) +(compute|output) buffer size = +([\d.]+) MiB")


class _Account(logging.Handler):
    """Adds up the sizes in lines of llama.cpp's log."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.cells = self.states = self.compute = self.output = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if found := CELLS.search(line):
            self.cells += float(found[1])
        elif found := STATES.search(line):
            self.states += float(found[1])
        elif found := BUFFER.search(line):
            device, kind, size = found.groups()
            if device.startswith("CPU") or device.endswith("_Host"):
                setattr(self, kind, getattr(self, kind) + float(size))


class Planner:
    """Plans contexts of one model, of which only the metadata is loaded."""

    def __init__(self, spec: WorkerSpec) -> None:
        """Raises :class:`workers.llama.LoadFailed`."""
        self._model = Model(spec, weights=False)

    def close(self) -> None:
        self._model.close()

    def plan(self, spec: WorkerSpec) -> ContextMemory:
        """Return the sizes of a context for ``spec``. Raises :class:`workers.llama.LoadFailed`."""
        cells = spec.n_ctx or 0
        if cells <= MOST_CELLS:
            return self._planned(spec)
        half, most = (
            self._planned(msgspec.structs.replace(spec, n_ctx=n_ctx))
            for n_ctx in (MOST_CELLS // 2, MOST_CELLS)
        )
        beyond, between = cells - MOST_CELLS, MOST_CELLS // 2
        return ContextMemory(
            cells,
            most.cells + beyond * (most.cells - half.cells) // between,
            most.states,
            most.compute + beyond * (most.compute - half.compute) // between,
            most.logits,
            most.extra_buffers,
        )

    def _planned(self, spec: WorkerSpec) -> ContextMemory:
        with _account() as account:
            context = Context(self._model, spec, geometries(self._model, spec).base)
            with closing(context):
                n_ctx = context.n_ctx
                if not context.generates:  # it embeds or ranks, in a context of its own
                    shape = context.embeddings(self._model, spec)
                    EmbeddingContext(self._model, spec, shape, spec.slots).close()
                    n_ctx = max(n_ctx, shape.longest)
        found = (account.cells, account.states, account.compute, account.output)
        cells, states, compute, logits = (round(size * MIB) for size in found)
        return ContextMemory(n_ctx, cells, states, compute, logits, extra_buffers())


@contextmanager
def _account() -> Iterator[_Account]:
    """Collect llama.cpp's log lines, which are kept out of ours meanwhile."""
    account = _Account()
    level, propagate = log.level, log.propagate
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(account)
    try:
        yield account
    finally:
        log.removeHandler(account)
        log.setLevel(level)
        log.propagate = propagate
