"""`python -m bench.pictures [--quick]`: streams beside a picture, of Forge and of llama-server.

Streams run, and then a picture comes with a question. Told are the longest pause of the streams
from then to the picture's first token, and when that came; the streams are shorter than it may be.
The model is SmolLM2 with a projector of SmolVLM's shape and random weights.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, cast

from bench.environment import commit, machine
from bench.models import cache
from bench.pictures.projector import EncoderShape
from bench.pictures.vocabulary import with_tokens
from bench.serving.client import Answer, Asker, Messages, Request
from bench.serving.prompts import Prompts, known
from bench.serving.settings import Settings
from bench.serving.systems import System, forge_itself, llama_server
from bench.trained import TRAINED, trained
from tests.support.pictures import picture

RESULTS = Path(__file__).parent.parent / "results"
MODEL = "smollm2-135m"
WORDS = 30


@dataclass(frozen=True, slots=True)
class PictureRun:
    """The size of a run. ``side``: of the picture, in pixels: 1,024 are four tiles and a fifth."""

    rounds: int = 3
    streams: int = 8
    tokens: int = 300
    side: int = 1024


@dataclass(frozen=True, slots=True)
class Beside:
    """One picture beside streams, in seconds."""

    first_token: float
    """Of the picture's answer, after it was asked for."""
    worst_gap: float
    """Of any stream while the picture was computed; what came before it counts from its begin."""
    prompt_tokens: int


def question(side: int, number: int) -> Messages:
    """Return a message with a picture that no round had before."""
    data = base64.b64encode(picture(number, side, side)).decode()
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        {"type": "text", "text": "What is it?"},
    ]
    return cast(Messages, [{"role": "user", "content": parts}])


async def beside(asker: Asker, prompts: Prompts, run: PictureRun, number: int) -> Beside:
    """Ask for the picture once all streams have begun. Raises RuntimeError for an error."""
    await asker.ask(Request(prompts.chat(WORDS), 4))
    streams = [
        asyncio.create_task(asker.ask(Request(prompts.chat(WORDS), run.tokens)))
        for _ in range(run.streams)
    ]
    short = await asker.ask(Request(prompts.chat(WORDS), 8))  # by then the others have begun
    asked = await asker.ask(Request(question(run.side, number), 8))
    answers = await asyncio.gather(*streams)
    for answer in [short, asked, *answers]:
        if answer.error:
            raise RuntimeError(answer.error)
    return Beside(asked.ttft, worst_gap(answers, asked), asked.prompt_tokens)


def worst_gap(answers: Sequence[Answer], asked: Answer) -> float:
    """Return the longest pause of the answers while another was waited for, as far as it reaches
    into that time."""
    begin, end = asked.asked, asked.moments[0]
    gaps = [
        min(until, end) - max(since, begin)
        for answer in answers
        for since, until in answer.gaps
        if until > begin and since < end
    ]
    return max(gaps, default=0.0)


async def measure(
    systems: Sequence[System], settings: Settings, run: PictureRun
) -> dict[str, list[Beside]]:
    """All systems in each round, each alone on the machine, in another order."""
    found: dict[str, list[Beside]] = {system.name: [] for system in systems}
    words = known(settings.model).words
    for number in range(run.rounds):
        at = number % len(systems)
        for system in [*systems[at:], *systems[:at]]:
            async with system.up(settings) as up:
                prompts = Prompts(words, f"pictures {number}")
                found[system.name].append(await beside(up.asker, prompts, run, number))
    return found


def report(found: dict[str, list[Beside]], run: PictureRun) -> str:
    """Return the results as Markdown; ratios are those of the first system to the last."""
    lines = [
        "# A picture beside streams", "",
        f"{datetime.now(UTC):%Y-%m-%d}, Forge {commit()}, {machine()['cores']} cores "
        f"({machine()['cpu']}). A picture of {run.side} x {run.side} pixels comes while "
        f"{run.streams} streams of {run.tokens} tokens run; {MODEL} with a projector of SmolVLM's "
        f"shape and random weights. Medians of {run.rounds} rounds, least to most in brackets, in "
        "seconds. *worst gap*: of the streams, until the picture's first token.", "",
        "| system | worst gap | picture's first token | tokens of its prompt |",
        "|---|---:|---:|---:|",
    ]  # fmt: skip
    for name, each in found.items():
        lines.append(
            f"| {name} | {_told([one.worst_gap for one in each])} "
            f"| {_told([one.first_token for one in each])} | {each[-1].prompt_tokens} |"
        )
    if len(found) > 1:
        mine, *_, theirs = found.values()
        gap = median(a.worst_gap / b.worst_gap for a, b in zip(mine, theirs, strict=True))
        first = median(a.first_token / b.first_token for a, b in zip(mine, theirs, strict=True))
        lines += ["", f"Ratios, round by round: worst gap {gap:.2f}, first token {first:.2f}."]
    return "\n".join([*lines, ""])


def _told(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.pictures", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, a small picture")
    parser.add_argument("--llama-server", type=Path, help="the program to compare with")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the table")
    args = parser.parse_args()
    run = PictureRun(1, 2, 40, 256) if args.quick else PictureRun()
    cores = machine()["cores"]
    with TemporaryDirectory() as folder:
        mmproj = str(EncoderShape().write(Path(folder) / "mmproj-smolvlm.gguf"))
        # One slot more than streams: the picture waits for cores, not for a place.
        slots = run.streams + 1
        plain = trained(TRAINED[MODEL], cache() / f"{MODEL}.gguf")
        model = with_tokens(plain, Path(folder) / f"{MODEL}.gguf")
        settings = Settings(model, slots, slots * 2048, cores, 512)
        systems = [forge_itself("forge", ["--mmproj", mmproj])]
        if args.llama_server is not None:
            options = ["--mmproj", mmproj]
            systems.append(
                llama_server(
                    "llama-server", args.llama_server.absolute(), options, alike=False, plain=False
                )
            )
        text = report(asyncio.run(measure(systems, settings, run)), run)
    print(text)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "pictures.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
