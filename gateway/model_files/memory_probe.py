"""The memory of contexts, asked of llama.cpp in a process of its own.

llama.cpp plans a context's buffers without allocating them (``workers.tools.memory``). A process of
the workers does it, because the gateway never loads llama.cpp, and because a damaged file may end
it. It starts with the first question whose answer is not known from an earlier one, and answers
the next ones within milliseconds.
"""

import contextlib
import os
import select
import subprocess
from typing import Self

import msgspec

from gateway.model_files import known_plans
from gateway.model_files.known_plans import KnownPlans
from workers.protocol import (
    ContextMemory,
    FrameDecoder,
    FromMemoryProbe,
    MemoryUnknown,
    PlanContext,
    ProtocolError,
    WorkerSpec,
    children,
    encode,
)

PATIENCE = 120.0
"""Seconds for the metadata of a model; drivers of GPUs may take some to wake up, too."""
ENDING_S = 2.0
"""Seconds for the process to end by itself."""


class NotPlanned(Exception):
    """llama.cpp can't make this context; the text is one line that says why."""


def remembering() -> "MemoryProbe":
    """Return a probe that knows what was asked before on this machine."""
    return MemoryProbe(KnownPlans(known_plans.usual_file()))


class MemoryProbe:
    """Asks for one model after another; ends its process when it is left."""

    def __init__(self, plans: KnownPlans | None = None) -> None:
        """``plans``: answers that llama.cpp gave to other probes; None: it is asked."""
        self._process: subprocess.Popen[bytes] | None = None
        self._plans = plans or KnownPlans(None)
        self._known: dict[bytes, FromMemoryProbe] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process; another question would start a new one."""
        if self._process is not None:
            try:
                self._process.communicate(timeout=ENDING_S)  # it ends with its input
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.communicate()
            self._process = None

    def plan(self, spec: WorkerSpec) -> ContextMemory:
        """The memory of the context of a worker. Raises :class:`NotPlanned`."""
        path = os.fsencode(spec.model_path)
        question = encode(PlanContext(path, msgspec.structs.replace(spec, model_path="")))
        if question not in self._known:
            self._known[question] = self._answer(spec, question)
        answer = self._known[question]
        if isinstance(answer, MemoryUnknown):
            raise NotPlanned(answer.message)
        return answer

    def _answer(self, spec: WorkerSpec, question: bytes) -> FromMemoryProbe:
        mark = known_plans.mark(spec)
        found = None if mark is None else self._plans.find(mark)
        if found is not None:
            return found
        answer = self._ask(question)
        if mark is not None and isinstance(answer, ContextMemory):
            self._plans.add(mark, answer)
        return answer

    def _ask(self, question: bytes) -> FromMemoryProbe:
        if self._process is None:
            self._process = subprocess.Popen(
                children.command("workers.tools.memory"),
                env=children.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        pipe, answers = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert answers is not None
        with contextlib.suppress(BrokenPipeError, ProtocolError):
            pipe.write(question)
            pipe.flush()
            decoder: FrameDecoder[FromMemoryProbe] = FrameDecoder(FromMemoryProbe)
            while select.select([answers], [], [], PATIENCE)[0]:
                data = os.read(answers.fileno(), 1 << 16)
                for answer in decoder.feed(data):
                    return answer
                if not data:
                    break
        self.close()
        return MemoryUnknown(
            "llama.cpp ended, went silent or said something else, over this model's metadata"
        )
