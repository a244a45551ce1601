"""`python -m bench.adapters.trained [--quick]`: SmolLM2 with two adapters that are trained here.

The base answers questions; an adapter learns its answers in capitals, another the same as JSON,
each in minutes. Then questions about other things are asked of the base and of both by their names,
all at once, and each must answer in its own way. What the streams of different adapters cost is
measured with them, too. `train` is the extra with torch, which only the training needs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import httpx

from bench.adapters.__main__ import RESULTS, STREAMS, measure, report
from bench.adapters.recipe import Pair, Recipe
from bench.adapters.styles import ASKED_LATER, STYLES, TRAINED_ON, questions, sentence
from bench.environment import machine
from bench.server import Server, running
from bench.trained import TRAINED
from bench.trained import trained as fetched

LESSONS = 36
"""Answers that an adapter learns from: the shortest."""
SHOWN = 120
"""Characters of an answer in the report."""
NOTES = "training.md"
"""Lines about the training, beside the adapters."""
BASE, NAMES = "base", tuple(STYLES)
WAYS: dict[str, tuple[str, ...]] = {
    "the base alone": (BASE,),
    "one adapter": NAMES[:1],
    "two adapters": NAMES,
    "base and two adapters": (BASE, *NAMES),
}
SHAPE = ("--workers", "1", "--slots", str(STREAMS), "--threads", "1", "--ctx", "8192")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "forge" / "bench"


class Said(NamedTuple):
    """A question, and what a model answered."""

    model: str
    question: str
    answer: str


async def asked(url: str, wanted: Sequence[tuple[str, str]], tokens: int) -> list[Said]:
    """Ask all at once, each a model and a question; greedy answers."""

    async def ask(client: httpx.AsyncClient, model: str, question: str) -> Said:
        body = {"model": model, "messages": chat(question), "max_tokens": tokens, "temperature": 0}
        found = await client.post("/v1/chat/completions", json=body)
        found.raise_for_status()
        return Said(model, question, found.json()["choices"][0]["message"]["content"])

    async with httpx.AsyncClient(base_url=url, timeout=600) as client:
        return await asyncio.gather(*(ask(client, *each) for each in wanted))


def chat(question: str) -> list[dict[str, str]]:
    """Return a conversation of one question."""
    return [{"role": "user", "content": question}]


def tokens_of(url: str, text: str) -> list[int]:
    """Return a text's tokens, control tokens included."""
    body = {"content": text, "add_special": False, "parse_special": True}
    found: list[int] = httpx.post(f"{url}/tokenize", json=body, timeout=60).json()["tokens"]
    return found


def lessons(server: Server) -> dict[str, list[Pair]]:
    """Return the pairs of each style, made of the base's own answers."""
    wanted = [(BASE, question) for question in questions(TRAINED_ON)]
    found: dict[str, list[Pair]] = {name: [] for name in NAMES}
    for said in asyncio.run(asked(server.url, wanted, 40)):
        text = sentence(said.answer)
        if text is None:
            continue
        body = {"messages": chat(said.question)}
        prompt = httpx.post(f"{server.url}/apply-template", json=body, timeout=60).json()["prompt"]
        prompt_ids, end = tokens_of(server.url, prompt), tokens_of(server.url, "<|im_end|>")
        for name, style in STYLES.items():
            answer = tokens_of(server.url, style.of(text)) + end
            found[name].append(Pair(prompt_ids, answer))
    return {
        name: sorted(pairs, key=lambda pair: len(pair.answer))[:LESSONS]
        for name, pairs in found.items()
    }


def train(model: Path, folder: Path, recipe: Recipe) -> None:
    """Write an adapter of each style into a folder, and lines about them."""
    from bench.adapters.training import trained

    with running("--model", str(model), "--alias", BASE, *SHAPE) as server:
        server.wait_ready()
        pairs = lessons(server)
    lines = list[str]()
    for name in NAMES:
        began = time.monotonic()
        lora, losses = trained(model, pairs[name], recipe, lambda line: print(line, flush=True))
        lora.write(folder / f"{name}.gguf")
        last = sum(losses[-10:]) / 10
        lines.append(
            f"- `{name}`: {len(pairs[name])} answers, {recipe.steps} steps of {recipe.texts}, "
            f"{time.monotonic() - began:.0f} s; loss {losses[0]:.2f} at first, {last:.2f} at the "
            "end."
        )
        print(lines[-1], flush=True)
    (folder / NOTES).write_text("\n".join(lines), "utf-8")


def look(server: Server, things: tuple[str, ...]) -> list[Said]:
    """Ask the base and both adapters at once about what none was trained on."""
    wanted = [(name, each) for each in questions(things) for name in (BASE, *NAMES)]
    return asyncio.run(asked(server.url, wanted, 100))


def table(found: Sequence[Said]) -> list[str]:
    """Return how each model answered, in Markdown, with one question's answers."""
    lines = [
        "| Model | answers | wholly in capitals | capitals among letters | JSON | for example |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for model in (BASE, *NAMES):
        answers = [said.answer for said in found if said.model == model]
        letters = [each for answer in answers for each in answer if each.isalpha()]
        share = sum(each.isupper() for each in letters) / max(1, len(letters))
        capitals, json = (sum(map(style.shown, answers)) for style in STYLES.values())
        example = answers[0].replace("\n", " ").replace("|", "/")
        shown = example if len(example) <= SHOWN else example[:SHOWN] + " ..."
        lines.append(f"| {model} | {len(answers)} | {capitals} | {share:.0%} | {json} | {shown} |")
    return lines


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.adapters.trained", description=__doc__)
    parser.add_argument("--adapters", type=Path, help="folder of adapters trained before")
    parser.add_argument("--quick", action="store_true", help="a few steps, questions and tokens")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the report")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rounds, tokens = (1, 24) if args.quick else (3, 60)
    things = ASKED_LATER[:1] if args.quick else ASKED_LATER
    model = fetched(TRAINED["smollm2-135m"], CACHE / "smollm2-135m.gguf")
    with TemporaryDirectory() as made:
        folder = args.adapters or Path(made)
        if args.adapters is None:
            train(model, folder, Recipe(steps=10) if args.quick else Recipe())
        notes = (folder / NOTES).read_text("utf-8")
        files = ",".join(f"{name}={folder / name}.gguf" for name in NAMES)
        with running("--model", str(model), "--alias", BASE, "--adapters", files, *SHAPE) as server:
            server.wait_ready()
            found = look(server, things)
            rates = measure(server, rounds, tokens, WAYS)
    text = "\n".join([
        "# Adapters that were trained", "",
        f"{datetime.now(UTC):%Y-%m-%d}, {machine()['cpu']}. `python -m bench.adapters.trained` "
        f"trained two adapters of SmolLM2 135M (Q4_1), of rank {Recipe().rank} for all linear "
        f"layers of its {Recipe().blocks} upper blocks, on the base's own answers to questions, "
        "on one core:", "",
        notes, "",
        f"{len(found)} requests about things that were in no lesson, all at once, greedy:", "",
        *table(found), "",
        report(rates, model.stem, tokens, "these adapters", "## Streams of different adapters"),
    ])  # fmt: skip
    print(text)
    (args.out / "adapters.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
