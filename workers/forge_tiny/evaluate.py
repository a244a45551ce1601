"""Ask the model everything in `cases` through llama.cpp: `python -m workers.forge_tiny.evaluate`.

Decoding is greedy. Prints a table and writes eval.json: per group how many prompts were asked, how
many answers were right, how many ended by themselves, the longest answer, and some wrong answers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from . import MODEL_PATH
from .asking import EvalScore, ServedTiny, score
from .cases import GROUPS

BEGIN, END = "<!-- evaluation -->", "<!-- end of evaluation -->"


def table(scores: dict[str, EvalScore]) -> Table:
    """The scores for a terminal."""
    shown = Table("group", "asked", "right", "%", "ended", "longest prompt", "longest answer")
    for name, s in scores.items():
        numbers = (s.asked, s.right, s.percent, s.ended, s.prompt_tokens, s.longest)
        shown.add_row(name, *map(str, numbers))
    return shown


def report(path: Path, scores: dict[str, EvalScore]) -> dict[str, Any]:
    """The contents of eval.json."""
    groups = {name: {"percent": s.percent, **vars(s)} for name, s in scores.items()}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"model": path.name, "sha256": digest, "decoding": "greedy", "groups": groups}


def markdown(scores: dict[str, EvalScore]) -> str:
    """The table of the model card."""
    lines = [
        "| group | prompts | right | % | ended by itself | longest prompt | longest answer |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, s in scores.items():
        lines.append(
            f"| {name} | {s.asked} | {s.right} | {s.percent} | {s.ended} "
            f"| {s.prompt_tokens} | {s.longest} |"
        )
    return "\n".join(lines)


def update_card(card: Path, scores: dict[str, EvalScore]) -> None:
    """Put the table between the card's two markers, so that card and measurement agree."""
    head, rest = card.read_text(encoding="utf-8").split(BEGIN)
    _, tail = rest.split(END)
    card.write_text(f"{head}{BEGIN}\n{markdown(scores)}\n{END}{tail}", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_PATH)
    parser.add_argument("--out", type=Path, default=MODEL_PATH.with_name("eval.json"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="only groups whose name contains this")
    parser.add_argument("--card", type=Path, help="a README.md to put the table into")
    args = parser.parse_args()
    model = ServedTiny(args.model, args.threads)
    chosen = {name: cases for name, cases in GROUPS.items() if args.only in name}
    shown = track(chosen.items(), description="evaluating")
    scores = {name: score(model, cases()) for name, cases in shown}
    Console().print(table(scores))
    args.out.write_text(json.dumps(report(args.model, scores), indent=1, ensure_ascii=False) + "\n")
    if args.card:
        update_card(args.card, scores)


if __name__ == "__main__":
    main()
