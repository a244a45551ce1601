"""Train forge-tiny from nothing: `python -m workers.forge_tiny.train --out build/forge-tiny`.

Warm-up, a long constant stretch, a linear decay to zero. The constant part does not depend on the
number of steps, so a run stopped there and resumed with another `--steps` ends as a run that was
given that number from the start. The first steps see questions as people ask them, later ones
odder ones too, so that the subject decides and not the phrasing. The last have long rows, up to the
context. A short stretch with many more sums ends the run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as ops
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from tokenizers import Tokenizer
from torch import Tensor

from . import tokenizer as vocabulary
from .batches import Batch, Encoder, Packer
from .corpus import PLAIN, SUMS, VARIED, Topics, stream
from .export import export
from .model import Tiny, TransformerShape
from .optim import Muon


@dataclass(frozen=True)
class Stretch:
    """Steps on one stream of conversations, whose name is part of its seed."""

    name: str
    steps: int
    topics: Topics


@dataclass(frozen=True)
class Recipe:
    """Every number that fixes a run."""

    seed: int = 7
    steps: int = 3100
    plain_steps: int = 1400
    decay_share: float = 0.5
    last_steps: int = 400
    last_peak: float = 0.35
    rows: int = 16
    length: int = 256
    long_rows: int = 2
    long_length: int = 2048
    long_share: float = 0.08
    warmup: int = 40
    muon_rate: float = 0.02
    muon_momentum: float = 0.95
    muon_decay: float = 0.1
    adam_rate: float = 0.004
    tokenizer_conversations: int = 30000

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """The data of the steps, in order."""
        short = round(self.steps * (1 - self.long_share))
        plain = min(self.plain_steps, short)
        return (
            Stretch("short", plain, PLAIN),
            Stretch("varied", short - plain, VARIED),
            Stretch("long", self.steps - short, VARIED),
            Stretch("last", self.last_steps, SUMS),
        )

    @property
    def total(self) -> int:
        """Steps of all stretches."""
        return self.steps + self.last_steps

    def rate(self, step: int) -> float:
        """The learning rate's factor: up to 1, flat, down to zero; then up a little and down."""
        if step >= self.steps:
            left = (self.total - step) / max(1, self.last_steps)
            return max(0.0, self.last_peak * min(left, (step + 1 - self.steps) / self.warmup))
        down = (self.steps - step) / max(1.0, self.steps * self.decay_share)
        return max(0.0, min(1.0, (step + 1) / self.warmup, down))


QUICK = Recipe(
    steps=12, plain_steps=6, last_steps=4, rows=4, length=128, long_rows=1, long_length=512,
    tokenizer_conversations=1500,
)  # fmt: skip
QUICK_SHAPE = TransformerShape(vocab=1024, width=64, layers=2, heads=2, hidden=128)


class Trainer:
    """Model, optimisers and data of one run."""

    def __init__(
        self, recipe: Recipe, shape: TransformerShape, tokenizer: Tokenizer, device: str
    ) -> None:
        torch.manual_seed(recipe.seed)
        torch.set_num_threads(1)
        self.pool = ThreadPoolExecutor(2, initializer=partial(torch.set_num_threads, 1))
        self.recipe, self.tokenizer, self.device = recipe, tokenizer, device
        self.model = Tiny(shape).to(device)
        self.weights = list(self.model.parameters())
        named = list(self.model.named_parameters())
        hidden = [w for name, w in named if w.ndim == 2 and "embd" not in name]
        rest = [w for name, w in named if w.ndim != 2 or "embd" in name]
        self.muon = Muon(hidden, recipe.muon_momentum, recipe.muon_decay)
        self.adam = torch.optim.Adam(rest, lr=recipe.adam_rate, betas=(0.9, 0.98))
        self.done = 0
        self.seconds = 0.0
        self.log: list[tuple[int, float]] = []

    def _stretch(self, stretch: Stretch) -> Iterator[Batch]:
        """Batches of short or of long rows, from a stream of their own."""
        recipe, encoder = self.recipe, Encoder(self.tokenizer)
        long = stretch.name == "long"
        source = stream(f"{recipe.seed} {stretch.name}", long=long, topics=stretch.topics)
        length = recipe.long_length if long else recipe.length
        packer = Packer(encoder.documents(source), length, encoder.end, cut=long)
        return packer.batches(recipe.long_rows if long else recipe.rows)

    def batches(self) -> Iterator[Batch]:
        """The batches from the current step on; earlier ones are drawn and dropped."""
        start = 0
        for stretch in self.recipe.stretches:
            skipped = min(max(self.done - start, 0), stretch.steps)
            start += stretch.steps
            if skipped < stretch.steps:
                yield from islice(self._stretch(stretch), skipped, stretch.steps)

    def gradient(self, batch: Batch, total: float) -> tuple[float, Sequence[Tensor]]:
        """Loss and gradients of some rows: cross entropy, weighted, divided by `total`."""
        ids = torch.from_numpy(batch.ids).to(self.device)
        weights = torch.from_numpy(batch.weights).to(self.device)[:, 1:]
        chosen = weights > 0
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.device == "cuda"):
            hidden = self.model(ids[:, :-1])[chosen]
            logits = self.model.logits(hidden)
        losses = ops.cross_entropy(logits.float(), ids[:, 1:][chosen], reduction="none")
        loss = (losses * weights[chosen]).sum() / total
        return loss.item(), torch.autograd.grad(loss, self.weights)

    def backward(self, batch: Batch) -> float:
        """Gradients of the whole batch into `grad`; returns the loss.

        On a CPU the halves of a batch are computed side by side, one thread each: unlike threads
        inside of every operation they do not wait for each other all the time, which counts when
        other programs use the cores too. The sum does not depend on the number of threads.
        """
        total = float(batch.weights[:, 1:].sum())
        parts = batch.split(2 if self.device == "cpu" else 1)
        found = list(self.pool.map(self.gradient, parts, repeat(total)))
        for weight, *grads in zip(self.weights, *(grads for _, grads in found), strict=True):
            weight.grad = grads[0] if len(grads) == 1 else grads[0] + grads[1]
        return sum(loss for loss, _ in found)

    def step(self, batch: Batch) -> float:
        """One update; returns the loss before it."""
        loss = self.backward(batch)
        factor = self.recipe.rate(self.done)
        for group in self.adam.param_groups:
            group["lr"] = self.recipe.adam_rate * factor
        self.muon.step(self.recipe.muon_rate * factor, self.pool.map)
        self.adam.step()
        self.done += 1
        return loss

    def save(self, out: Path) -> None:
        """Checkpoint and GGUF, each replaced in one go."""
        state = {
            "model": self.model.state_dict(), "muon": self.muon.state(),
            "adam": self.adam.state_dict(),
            "done": self.done, "seconds": self.seconds, "log": self.log,
        }  # fmt: skip
        partial = out / "checkpoint.part"
        torch.save(state, partial)
        os.replace(partial, out / "checkpoint.pt")
        export(self.model, self.tokenizer, out / "forge-tiny.gguf")

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, map_location=self.device)
        self.model.load_state_dict(state["model"])
        self.muon.load(state["muon"])
        self.adam.load_state_dict(state["adam"])
        self.done, self.seconds, self.log = state["done"], state["seconds"], state["log"]

    def summary(self) -> dict[str, Any]:
        """The contents of training.json about the run."""
        return {
            "recipe": asdict(self.recipe),
            "shape": self.model.shape.as_dict(),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "device": self.device,
            "torch": torch.__version__,
            "processor": platform.machine(),
            "minutes": round(self.seconds / 60, 1),
            "steps_done": self.done,
            "loss": [[step, round(loss, 4)] for step, loss in self.log],
        }


def run(trainer: Trainer, out: Path, every: int) -> None:
    """Train to the end with a progress bar; save now and then and at the end."""
    console = Console()
    counted = TextColumn("{task.completed}/{task.total}")
    columns = (TextColumn("{task.description}"), BarColumn(), counted, TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=trainer.recipe.total, completed=trainer.done)
        _loop(trainer, out, every, progress, task)
    trainer.save(out)


def _loop(trainer: Trainer, out: Path, every: int, progress: Progress, task: TaskID) -> None:
    mean, last = 0.0, time.monotonic()
    steps = trainer.recipe.total - trainer.done
    for batch in islice(trainer.batches(), steps):
        loss = trainer.step(batch)
        mean = loss if not mean else 0.95 * mean + 0.05 * loss
        now = time.monotonic()
        trainer.seconds += now - last
        text = f"loss {mean:.3f}  {batch.ids.size / (now - last):,.0f} tok/s"
        last = now
        progress.update(task, advance=1, description=text)
        if trainer.done % 20 == 0:
            trainer.log.append((trainer.done, mean))
            if not progress.console.is_terminal:
                print(f"step {trainer.done}  {text}", flush=True)
        if trainer.done % every == 0:
            trainer.save(out)
            last = time.monotonic()


def pick_device(wanted: str | None) -> str:
    """The named device, else the quickest one there is."""
    if wanted:
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, help="updates of the weights")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--out", type=Path, default=Path("build/forge-tiny"), help="output folder")
    parser.add_argument("--device", help="cpu, cuda or mps (default: the quickest)")
    parser.add_argument("--quick", action="store_true", help="a few steps of a much smaller model")
    parser.add_argument("--resume", type=Path, help="a checkpoint.pt to go on from")
    parser.add_argument("--save-every", type=int, default=200, help="steps between two checkpoints")
    return parser.parse_args()


def main() -> None:
    """Tokeniser, training, export, training.json."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    recipe = replace(QUICK if args.quick else Recipe(), seed=args.seed)
    recipe = replace(recipe, steps=args.steps or recipe.steps)
    shape = QUICK_SHAPE if args.quick else TransformerShape()
    tokenizer = vocabulary.train(recipe.seed, shape.vocab, recipe.tokenizer_conversations)
    tokenizer.save(str(args.out / "tokenizer.json"))
    trainer = Trainer(recipe, shape, tokenizer, pick_device(args.device))
    if args.resume:
        trainer.resume(args.resume)
    run(trainer, args.out, args.save_every)
    (args.out / "training.json").write_text(json.dumps(trainer.summary(), indent=1) + "\n")


if __name__ == "__main__":
    main()
