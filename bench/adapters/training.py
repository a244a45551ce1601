"""A LoRA adapter trained on pairs of prompt and answer, in minutes on a CPU."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from bench.adapters.network import Network, Texts
from bench.adapters.recipe import Pair, Recipe
from tests.support.adapters import Lora


def trained(
    model: Path,
    pairs: Sequence[Pair],
    recipe: Recipe,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[Lora, list[float]]:
    """Return an adapter of ``model`` and the losses of its steps."""
    torch.set_num_threads(1)  # two would wait for each other on a busy machine
    network = Network(model, recipe.blocks, recipe.rank, recipe.seed)
    optimiser = torch.optim.AdamW(network.trained(), lr=recipe.rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / 10) * (1 - step / recipe.steps)
    )
    began, losses = time.monotonic(), list[float]()
    known: dict[int, Texts] = {}
    for chosen in _batches(len(pairs), recipe):
        for at in chosen:
            if at not in known:
                prompt, answer = pairs[at]
                known[at] = network.texts([([*prompt, *answer], len(prompt))])
        loss = network.loss(_joined([known[at] for at in chosen]))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.trained(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if len(losses) % 5 == 0:
            tell(f"step {len(losses)}: loss {losses[-1]:.3f}, {time.monotonic() - began:.0f} s")
    return adapter(network), losses


def adapter(network: Network) -> Lora:
    """Return the matrices as they are now, as an adapter."""
    matrices = {
        name: (a.detach().numpy().copy(), b.detach().numpy().copy())
        for name, (a, b) in network.matrices.items()
    }
    return Lora(network.architecture, matrices, network.alpha)


def _batches(pairs: int, recipe: Recipe) -> list[list[int]]:
    """Return the pairs of each step: all of them in a new order, again and again."""
    dice, order = random.Random(recipe.seed), list[int]()
    while len(order) < recipe.steps * recipe.texts:
        order += dice.sample(range(pairs), pairs)
    return [order[at * recipe.texts :][: recipe.texts] for at in range(recipe.steps)]


def _joined(each: Sequence[Texts]) -> Texts:
    owners = [torch.full_like(texts.owners, at) for at, texts in enumerate(each)]
    return Texts(
        torch.cat([texts.hidden for texts in each]),
        torch.cat(owners),
        torch.cat([texts.positions for texts in each]),
        torch.cat([texts.targets for texts in each]),
    )
