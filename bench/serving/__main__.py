"""`python -m bench.serving [--quick]`: Forge and its peers side by side, in turns.

Every system gets the same model file, slots, KV cells, threads, batch and prompts, alone on the
machine; each round starts them in another order. What a peer lacks here is said and left out.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.models import SHAPES, cache, model
from bench.peers import NoPeer, programs, python_server
from gateway.config.config import EMBEDDED_MODEL
from gateway.system.host import available_cores

from . import report
from .experiment import Experiment, Spec
from .systems import (
    Settings,
    System,
    bare_engine,
    elsewhere,
    forge,
    forge_way,
    llama_server,
    named,
)
from .systems import python_server as python_system
from .workloads import Plan

RESULTS = Path(__file__).parent.parent / "results"
EMBEDDED = "embedded"
FULL = Plan(rounds=3)
QUICK = Plan(
    rounds=1, tokens=16, waves={1: 2, 8: 1, 32: 1}, loads=(0.9,), arrivals=12, shared=(8,),
    chats=2, turns=3, long_words=1000, long_tokens=100,
)  # fmt: skip
LLAMA_SERVERS = (
    ("llama-server", ["--repack"], False),
    ("llama-server-no-repack", ["--no-repack"], False),
    ("llama-server-unified", ["--repack"], True),
)
"""Best against best: which of them is ahead depends on the model and the workload."""
SYSTEMS = ("forge", "forge-no-repack", "forge-one-worker", "engine",
           *(name for name, *_ in LLAMA_SERVERS), "llama_cpp.server")  # fmt: skip
CEILING = "llama-batched-bench"


def systems(args: argparse.Namespace, binaries: Path | None) -> list[System]:
    """Those that were asked for and can be had."""
    made: dict[str, Callable[[], System]] = {
        "forge": lambda: forge("forge", ["--repack"]),
        "forge-no-repack": lambda: forge("forge-no-repack", ["--no-repack"]),
        "forge-one-worker": lambda: forge("forge-one-worker", ["--repack"], workers=1),
        "engine": lambda: bare_engine("engine", repack=True),
        "llama_cpp.server": lambda: python_system("llama_cpp.server"),
    }
    if binaries is not None:
        binary = binaries / "llama-server"
        for name, options, alike in LLAMA_SERVERS:
            made[name] = partial(llama_server, name, binary, options, alike=alike)
    found = [made[name]() for name in args.systems if name in made]
    found += [forge_way(way) for way in args.forge]
    return found + [elsewhere(*named(way)) for way in args.url]


def find_peers(args: argparse.Namespace, bar: Progress) -> tuple[Path | None, dict[str, str]]:
    """llama.cpp's programs, built if they are not there, and why which systems are missing."""
    missing: dict[str, str] = {}
    binaries = None
    wanted = [name for name in args.systems if name.startswith("llama-server")]
    if wanted or CEILING in args.systems:
        task = bar.add_task("llama.cpp", total=None)
        try:
            binaries = programs(
                args.llama_bin,
                lambda what, done, total: bar.update(
                    task, description=what, completed=done, total=total or None
                ),
            )
        except NoPeer as error:
            missing |= dict.fromkeys([*wanted, CEILING], str(error))
        bar.remove_task(task)
    if "llama_cpp.server" in args.systems:
        try:
            python_server()
        except NoPeer as error:
            missing["llama_cpp.server"] = str(error)
            args.systems.remove("llama_cpp.server")
    for name in {*SYSTEMS, CEILING} - set(args.systems) - set(missing):
        missing[name] = "not asked for"
    return binaries, missing


def settings(args: argparse.Namespace, path: Path) -> Settings:
    """The same for everybody."""
    return Settings(path, args.slots, args.ctx, args.threads, args.batch)


def run(args: argparse.Namespace, plan: Plan, console: Console) -> Iterator[report.Result]:
    """A result for each model, whose files are there from the first round on: it may take hours."""
    load = os.getloadavg()[0]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        binaries, missing = find_peers(args, bar)
        ceiling = binaries / CEILING if binaries and CEILING in args.systems else None
        paths = {
            name: EMBEDDED_MODEL if name == EMBEDDED
            else model(name, args.models, bar) if name in SHAPES else Path(name)
            for name in args.model
        }  # fmt: skip
        for name, path in paths.items():
            spec = Spec(settings(args, path), plan, args.workloads, ceiling)
            experiment = Experiment(name, spec, systems(args, binaries), bar)
            result = report.Result(name, vars(args) | {"plan": plan}, missing, load)

            def after(experiment: Experiment = experiment, result: report.Result = result) -> None:
                result.found, result.capacity = experiment.found, experiment.capacity
                report.write(result, args.out)

            uvloop.run(experiment.run(after))
            yield result


def arguments() -> argparse.ArgumentParser:
    """The command line's."""
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="little of everything: some minutes")
    add("--model", action="append", metavar="NAME|PATH",
        help=f"{EMBEDDED}, {', '.join(SHAPES)} or a file; may be repeated (default: all three; "
        "--quick: the first two)")  # fmt: skip
    add("--systems", type=lambda text: text.split(","),
        help=f"comma-separated, of {', '.join((*SYSTEMS, CEILING))} (default: all; --quick: "
        "without those that do not repack)")  # fmt: skip
    add("--workloads", type=lambda text: text.split(","),
        help="comma-separated beginnings of workloads' names (default: all)")  # fmt: skip
    add("--rounds", type=int, help="turns of every system (default: 3; --quick: 1)")
    add("--waves", type=int, metavar="N",
        help="each client of a closed loop asks N times (default: 6, 3 and 2 times where 1, 8 and "
        "32 ask): begin and end, when not all run, count for less")  # fmt: skip
    add("--forge", action="append", default=[], metavar="NAME=OPTIONS",
        help="another way to run Forge, such as tuned='--workers 2 --slots 16'")  # fmt: skip
    add("--url", action="append", default=[], metavar="NAME=URL",
        help="an OpenAI server that runs already")  # fmt: skip
    add("--llama-bin", type=Path, help="folder of llama.cpp's programs (default: built once)")
    add("--models", type=Path, default=cache(), help="folder of models that are made")
    add("--slots", type=int, default=32, help="sequences at once (default: 32)")
    add("--ctx", type=int, default=32_768, help="KV cells of all together (default: 32768)")
    add("--threads", type=int, default=available_cores(), help="default: the cores")
    add("--batch", type=int, default=512, help="most tokens in a step (default: 512)")
    add("--out", type=Path, default=RESULTS, help="folder for the results")
    return parser


def main(argv: list[str] | None = None, plan: Plan | None = None) -> None:
    """The command line; a test brings a plan of its own."""
    parser = arguments()
    args = parser.parse_args(argv)
    plan = plan or (QUICK if args.quick else FULL)
    plan = replace(plan, rounds=args.rounds or plan.rounds)
    if args.waves:
        plan = replace(plan, waves=dict.fromkeys(plan.waves, args.waves))
    names = [EMBEDDED, *SHAPES]
    args.model = args.model or (names[:2] if args.quick else names)
    everything = [*SYSTEMS, CEILING]
    quick = [name for name in everything if not name.endswith(("no-repack", "unified"))]
    args.systems = args.systems or (quick if args.quick else everything)
    if unknown := [name for name in args.systems if name not in everything]:
        parser.error(f"--systems: no system is called {unknown[0]}; there are {everything}")
    for name in args.model:
        if name not in names and not Path(name).is_file():
            parser.error(f"--model: {name} is no file and none of {names}")
    for way in (*args.forge, *args.url):
        try:
            named(way)
        except ValueError as error:
            parser.error(str(error))
    args.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    for result in run(args, plan, console):
        console.print(report.table(result))
    console.print(f"written to {args.out}")


if __name__ == "__main__":
    main()
