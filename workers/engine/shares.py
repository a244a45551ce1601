"""The parts of a step: how many tokens of prompts, and of inputs to embed, beside the streams."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from workers.engine.sequence import EngineSequence
from workers.planning.step_budget import Backlog, StepBudget

EMBEDDING_SHARE = 4
"""Beside generations, inputs to embed get one part in so many of a step's budget."""


class Shares(NamedTuple):
    """The parts of the next step."""

    served: list[EngineSequence]
    prefill: int
    """Tokens of prompts."""
    inputs: int
    """Tokens of inputs to embed."""
    least: int = 1
    """Fewer tokens of one more prompt are not begun with."""
    resting: bool = False
    """Streams sit it out, so that prompts are computed first."""


def shares(
    budget: StepBudget,
    streams: list[EngineSequence],
    prompts: list[EngineSequence],
    running: Sequence[EngineSequence],
    inputs: int,
) -> Shares:
    """Plan the next step.

    ``running``: all generations with cells, of which those with other adapters wait for all of
    the step, too. ``inputs``: how many inputs there are. Alone they get all of it. Beside
    generations they have a part of their own, however many prompts there are: more would make each
    token of the streams wait for hundreds of theirs, and less, prompts that fill every step would
    let them starve.
    """
    if not streams and not prompts:
        return Shares([], 0, budget.batch)
    if not prompts and not inputs:
        return Shares(streams, 0, 0)
    patient = [s for s in running if s.lacks == 1]
    urgency = max((s.request.priority for s in patient), default=math.inf)

    def eager(priority: float) -> int:
        return sum(s.lacks for s in prompts if s.request.priority >= priority)

    begun = sum(prompt.known - prompt.begun for prompt in prompts)
    backlog = Backlog(len(prompts), prompts[0].computed if prompts else 0, begun)
    resting = bool(streams and prompts) and budget.rests(urgency)
    allowed = budget.prefill(len(patient), backlog, urgency, eager, resting=resting)
    embedded = max(1, allowed // EMBEDDING_SHARE) if inputs else 0
    decoding = [] if resting else streams
    least = budget.least_part(len(decoding))
    return Shares(decoding + prompts, max(1, allowed - embedded), embedded, least, resting)
