"""`python -m bench.memory [--model FILE]`: what does a second worker cost in memory?

The same server with one worker and with two, which have the same slots and KV cells together, with
weights repacked for the CPU and mapped from the file. Each worker computes a long prompt first, so
that its buffers are in use. PSS counts a page that n processes share as a n-th for each, so the sum
over all processes is what they really take. Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import re
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.processes import PROC
from bench.server import Server, running
from gateway.config.config import EMBEDDED_MODEL

RESULTS = Path(__file__).parent / "results"
SLOTS = 16
"""Of all workers together."""
PATIENCE_S = 1800
HEADINGS = (
    "weights",
    "workers",
    "weights, MiB",
    "workers' own",
    "gateway, renderers",
    "total",
    "x",
)


@dataclass(frozen=True, slots=True)
class Footprint:
    """PSS in KiB."""

    weights: int
    """Mapped from the model's file, by all workers."""
    own: int
    """Everything else of the workers: KV cache, buffers, repacked weights, Python."""
    others: int
    """The gateway and the renderers."""

    @property
    def total(self) -> int:
        return self.weights + self.own + self.others


def pss(pid: int, file: Path) -> tuple[int, int]:
    """KiB of a process in mappings of ``file``, and in all. Raises OSError if it is gone."""
    mapped = total = 0
    here = False
    for line in (PROC / str(pid) / "smaps").read_text("utf-8", "replace").splitlines():
        if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            here = line.endswith(str(file))
        elif line.startswith("Pss:"):
            total += int(line.split()[1])
            mapped += int(line.split()[1]) if here else 0
    return mapped, total


def footprint(server: Server, model: Path) -> Footprint:
    """Return the memory that all processes of a server take now."""
    workers = {worker["pid"] for worker in server.workers()}
    sizes = {process.pid: pss(process.pid, model) for process in server.family()}
    weights = sum(mapped for pid, (mapped, _) in sizes.items() if pid in workers)
    total = sum(all_ for pid, (_, all_) in sizes.items() if pid in workers)
    others = sum(all_ for pid, (_, all_) in sizes.items() if pid not in workers)
    return Footprint(weights, total - weights, others)


async def warm_up(server: Server, workers: int, prompt: int) -> None:
    """A prompt of about so many tokens for each worker; the dispatcher spreads them."""
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_S) as client:
        # Ids that every vocabulary has; no two prompts begin alike, or one worker would get both.
        bodies = [
            {"prompt": [100 + n, *([200 + n] * prompt)], "max_tokens": 2, "ignore_eos": True}
            for n in range(workers)
        ]
        answers = await asyncio.gather(*(client.post("/v1/completions", json=b) for b in bodies))
    for answer in answers:
        answer.raise_for_status()
    if any(worker["decode_tokens"] == 0 for worker in server.workers()):
        raise RuntimeError("a worker got no prompt")


def measure(model: Path, workers: int, total_ctx: int, *, repack: bool) -> Footprint:
    """One server, from its start to its end."""
    options = [
        *("--model", str(model), "--workers", str(workers), "--threads", "1"),
        *("--slots", str(SLOTS // workers), "--ctx", str(total_ctx // workers)),
        *("--step-timeout", str(PATIENCE_S), "--repack" if repack else "--no-repack"),
    ]
    with running(*options) as server:
        server.wait_ready(PATIENCE_S)
        asyncio.run(warm_up(server, workers, min(600, total_ctx // workers // 2)))
        return footprint(server, model)


def markdown(name: str, total_ctx: int, found: dict[tuple[bool, int], Footprint]) -> str:
    """The report."""
    text = [
        "# Memory of a second worker", "",
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()} on {platform.system()} "
        f"{platform.machine()}. {name}, {SLOTS} slots and {total_ctx:,} KV cells in all, one "
        "thread each. PSS of all processes, after a prompt of hundreds of tokens in each worker.",
        "", f"| {' | '.join(HEADINGS)} |", "|---|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for row in rows(found):
        text.append(f"| {' | '.join(row)} |")
    return "\n".join([*text, ""])


def rows(found: dict[tuple[bool, int], Footprint]) -> list[tuple[str, ...]]:
    """The table's cells; the last is the total beside that of one worker."""
    return [
        (
            "repacked" if repack else "mapped",
            str(workers),
            *(f"{kib / 1024:,.0f}" for kib in (size.weights, size.own, size.others, size.total)),
            f"{size.total / found[repack, 1].total:.2f}",
        )
        for (repack, workers), size in found.items()
    ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--model", type=Path, default=EMBEDDED_MODEL, help="GGUF file")
    parser.add_argument("--total-ctx", type=int, default=16384, help="KV cells of all workers")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the table")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    found = dict[tuple[bool, int], Footprint]()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=console) as bar:
        # A file of our own: whoever else has the model open would take a part of its pages.
        model = Path(shutil.copy(args.model, folder))
        task = bar.add_task("servers", total=4)
        for repack in (False, True):
            for workers in (1, 2):
                found[repack, workers] = measure(model, workers, args.total_ctx, repack=repack)
                bar.advance(task)
    for row in rows(found):
        console.print("; ".join(f"{head} {cell}" for head, cell in zip(HEADINGS, row, strict=True)))
    report = markdown(args.model.stem, args.total_ctx, found)
    (args.out / "memory.md").write_text(report, encoding="utf-8")
    console.print(f"written to {args.out}")


if __name__ == "__main__":
    main()
