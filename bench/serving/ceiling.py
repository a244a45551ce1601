"""The speed of llama.cpp when no client waits: `llama-batched-bench` with the same mix."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from .measure import Figures
from .settings import Settings

TIMEOUT_S = 1200


def batched_bench(
    binary: Path, settings: Settings, *, prompt: int, tokens: int, clients: list[int], repack: bool
) -> dict[int, Figures]:
    """By clients: so many prompts of so many tokens at once, then as many answers.

    Raises RuntimeError with the end of its log.
    """
    command = [
        str(binary), "--model", str(settings.model), "--ctx-size", str(settings.ctx),
        "--threads", str(settings.threads), "--batch-size", str(settings.batch),
        "--ubatch-size", str(settings.batch), "-npp", str(prompt), "-ntg", str(tokens),
        "-npl", ",".join(map(str, clients)), "--output-format", "jsonl",
        "--repack" if repack else "--no-repack",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT_S
    )
    if done.returncode:
        said = done.stderr[-1000:] or f"exit code {done.returncode}"
        raise RuntimeError(f"{binary.name}: {said}")
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {row["pl"]: figures(row) for row in rows}


def figures(row: dict[str, float]) -> Figures:
    """From a line of its output: times in seconds, tokens of one sequence, number of sequences."""
    seconds, given = row["t_pp"] + row["t_tg"], row["tg"] * row["pl"]
    return {
        "seconds": seconds, "tokens": given, "tokens_per_s": given / seconds,
        "prompt_tokens": row["pp"], "requests_per_s": row["pl"] / seconds,
    }  # fmt: skip
