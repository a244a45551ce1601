"""`python -m workers.tools.memory`: plan contexts without allocating them.

For the gateway, which must know what a model takes before a worker starts, and must not load
llama.cpp itself. A frame on stdin for each question, a :class:`PlanContext`; a frame on stdout for
each answer, a :class:`ContextMemory` or :class:`MemoryUnknown`. Ends with its input.
"""

import os
import sys

import msgspec

from workers.llama import LoadFailed, Planner, initialise
from workers.parent import die_with_parent
from workers.protocol import (
    FrameDecoder,
    FromMemoryProbe,
    MemoryUnknown,
    PlanContext,
    WorkerSpec,
    encode,
)

UNRELATED = ("n_ctx", "slots", "batch", "repack", "type_k", "type_v", "flash_attn", "threads")
"""Fields that do not concern the model: it is loaded once for all their values."""


class Planners:
    """The planner of the last model."""

    def __init__(self) -> None:
        self._planner: Planner | None = None
        self._model = b""

    def answer(self, spec: WorkerSpec) -> FromMemoryProbe:
        """Plan the context of ``spec``."""
        try:
            return self._of(spec).plan(spec)
        except LoadFailed as error:
            return MemoryUnknown(str(error))

    def _of(self, spec: WorkerSpec) -> Planner:
        """Raises :class:`LoadFailed`."""
        fields = msgspec.structs.asdict(spec).items()
        # Bytes, because an override of 1.0 equals one of 1 and means another.
        rest = {k: v for k, v in fields if k not in UNRELATED and k != "model_path"}
        model = os.fsencode(spec.model_path) + msgspec.msgpack.encode(rest)
        if self._planner is None or model != self._model:
            if self._planner is not None:
                self._planner.close()
                self._planner = None
            self._planner, self._model = Planner(spec), model
        return self._planner


def main() -> None:
    die_with_parent()
    initialise()
    planners = Planners()
    questions: FrameDecoder[PlanContext] = FrameDecoder(PlanContext)
    while data := os.read(sys.stdin.fileno(), 1 << 16):
        for question in questions.feed(data):
            path = os.fsdecode(question.path)
            spec = msgspec.structs.replace(question.spec, model_path=path)
            sys.stdout.buffer.write(encode(planners.answer(spec)))
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
