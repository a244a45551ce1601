"""The parts of a step: how many tokens of prompts, and of inputs to embed, beside the streams."""

import math
from collections.abc import Sequence

from workers.engine.sequence import EngineSequence
from workers.planning.step_budget import Backlog, StepBudget

EMBEDDING_SHARE = 4
"""Beside generations, inputs to embed get one part in so many of a step's budget."""


def shares(
    budget: StepBudget,
    streams: list[EngineSequence],
    prompts: list[EngineSequence],
    running: Sequence[EngineSequence],
    inputs: int,
) -> tuple[list[EngineSequence], int, int]:
    """Plan the next step: its sequences, and its tokens of prompts and of inputs to embed.

    ``running``: all generations with cells, of which those with other adapters wait for all of
    the step, too. ``inputs``: how many inputs there are. Alone they get all of it. Beside
    generations they have a part of their own, however many prompts there are: more would make each
    token of the streams wait for hundreds of theirs, and less, prompts that fill every step would
    let them starve.
    """
    if not streams and not prompts:
        return [], 0, budget.batch
    if not prompts and not inputs:
        return streams, 0, 0
    patient = [s for s in running if s.lacks == 1]
    urgency = max((s.request.priority for s in patient), default=math.inf)

    def eager(priority: float) -> int:
        return sum(s.lacks for s in prompts if s.request.priority >= priority)

    begun = sum(prompt.known - prompt.begun for prompt in prompts)
    backlog = Backlog(len(prompts), prompts[0].computed if prompts else 0, begun)
    allowed = budget.prefill(len(patient), backlog, urgency, eager)
    embedded = max(1, allowed // EMBEDDING_SHARE) if inputs else 0
    return streams + prompts, max(1, allowed - embedded), embedded
