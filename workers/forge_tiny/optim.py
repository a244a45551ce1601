"""Muon for the hidden matrices, Adam for embeddings and gains.

Muon takes the momentum of a matrix and replaces it by (nearly) its closest orthogonal matrix, so
every direction of the update has the same size; on small llamas it needs about half of Adam's
tokens for the same loss. The five-step Newton-Schulz polynomial is Keller Jordan's (2024).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Mapper = Callable[..., Iterable[Any]]
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(update: Tensor, steps: int = 5) -> Tensor:
    """Nearly orthogonal matrices closest to `update` (N, rows, columns), as a batch."""
    a, b, c = QUINTIC
    x = update / (update.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon:
    """Momentum, orthogonalised; matrices of one shape are handled as one batch."""

    def __init__(self, weights: list[nn.Parameter], momentum: float, decay: float) -> None:
        self.momentum, self.decay = momentum, decay
        self.groups: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for weight in weights:
            self.groups.setdefault(tuple(weight.shape), []).append(weight)
        self.buffers = {
            shape: torch.zeros(len(group), *shape, device=group[0].device)
            for shape, group in self.groups.items()
        }

    def step(self, rate: float, mapper: Mapper = map) -> None:
        """One update of every matrix with learning rate `rate`; `mapper` may use threads."""
        list(mapper(partial(self._update, rate), list(self.groups)))

    def _update(self, rate: float, shape: tuple[int, ...]) -> None:
        with torch.no_grad():
            group, buffer = self.groups[shape], self.buffers[shape]
            grads = torch.stack([w.grad for w in group if w.grad is not None])
            buffer.lerp_(grads, 1 - self.momentum)
            update = orthogonalise(grads.lerp(buffer, self.momentum))
            scale = rate * max(1.0, shape[0] / shape[1]) ** 0.5
            for weight, delta in zip(group, update, strict=True):
                weight.mul_(1 - rate * self.decay).sub_(delta, alpha=scale)

    def state(self) -> list[Tensor]:
        """The part that a checkpoint must keep."""
        return list(self.buffers.values())

    def load(self, state: list[Tensor]) -> None:
        """Take back what `state` gave."""
        for buffer, saved in zip(self.buffers.values(), state, strict=True):
            buffer.copy_(saved)
