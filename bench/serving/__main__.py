"""`python -m bench.serving [--suite NAME] [--quick]`: Forge and its peers side by side, in turns.

Every system gets the same model file, KV cells and prompts, alone on the machine; each round starts
them in another order. What a peer lacks here is said and left out.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.models import NAMES, cache, model
from bench.peers import NoPeer, programs, python_server
from bench.trained import NoModel
from gateway.cli.console import interrupted_by
from gateway.config.config import EMBEDDED_MODEL
from gateway.system.host import available_cores

from . import report
from .earlier import Unlike, earlier
from .experiment import CEILING, Experiment
from .lifelike import Lifelike, resized
from .report import PLAIN
from .settings import Settings
from .suites import EMBEDDED, SUITES, another, copies, made, specification, told
from .systems import System, beside, elsewhere, named
from .workloads import Plan

RESULTS = Path(__file__).parent.parent / "results"


def systems(args: argparse.Namespace, binaries: Path | None) -> list[System]:
    """Return the systems that were asked for and can be had."""
    style = SUITES[args.suite].style
    ways = made(style, binaries)
    found = [ways[name]() for name in args.systems if name in ways]
    found += [another(style, *beside(text)) for text in args.beside]
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
    for name in set(SUITES[args.suite].systems) - set(args.systems) - set(missing):
        missing[name] = "not asked for"
    if PLAIN in args.systems and PLAIN not in made(SUITES[args.suite].style, None):
        missing[PLAIN] = "this Forge has no drafts"
    return binaries, missing


def settings(args: argparse.Namespace, path: Path) -> Settings:
    """The same for all systems."""
    return Settings(path, args.slots, args.ctx, args.threads, args.batch)


def found_models(args: argparse.Namespace, bar: Progress) -> tuple[dict[str, Path], dict[str, str]]:
    """The files by name, and why which are missing."""
    paths, missing = {}, {}
    for name in args.model:
        try:
            paths[name] = (
                EMBEDDED_MODEL if name == EMBEDDED
                else model(name, args.models, bar) if name in NAMES else Path(name)
            )  # fmt: skip
        except NoModel as error:
            missing[name] = str(error)
    return paths, missing


def run(
    args: argparse.Namespace, plan: Plan | Lifelike, console: Console
) -> Iterator[report.Result]:
    """A result for each model, whose files are there from the first sitting on."""
    load = os.getloadavg()[0]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        binaries, missing = find_peers(args, bar)
        ceiling = binaries / CEILING if binaries and CEILING in args.systems else None
        paths, without = found_models(args, bar)
        for name, why in without.items():
            console.print(f"left out: {name}: {why}")
        for name, path in paths.items():
            spec = specification(name, settings(args, path), plan, args.workloads, ceiling)
            style = SUITES[args.suite].style
            result = report.Result(name, style, told(vars(args), plan), missing, load)
            if args.add:
                path = args.out / f"{result.name}.json"
                result.found, result.earlier = earlier(path, result.options)
            experiment = Experiment(name, spec, systems(args, binaries), bar, result.found)
            if isinstance(plan, Lifelike) and not copies(name):
                result.left_out = "No editing: this model has not learned to repeat a text."

            def after(experiment: Experiment = experiment, result: report.Result = result) -> None:
                result.found, result.capacity = experiment.found, experiment.capacity
                result.missing |= experiment.failed
                report.write(result, args.out)

            uvloop.run(experiment.run(after))
            yield result


def arguments() -> argparse.ArgumentParser:
    """The command line's."""
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    add = parser.add_argument
    add("--suite", choices=[*SUITES], default="lifelike",
        help="lifelike: chats, documents, agents, edits, a batch, goodput; uniform: requests of "
        "one length, Poisson arrivals, shared prompts (default: lifelike)")  # fmt: skip
    add("--quick", action="store_true", help="little of everything: two minutes, or some")
    add("--model", action="append", metavar="NAME|PATH",
        help=f"{EMBEDDED}, {', '.join(NAMES)} or a file; may be repeated (default: the suite's; "
        "--quick: the small ones)")  # fmt: skip
    add(
        "--systems",
        type=lambda text: text.split(","),
        help="comma-separated, of "
        + "; ".join(f"{name}: {', '.join(suite.systems)}" for name, suite in SUITES.items())
        + " (default: all; uniform --quick: without those that do not repack)",
    )
    add("--workloads", type=lambda text: text.split(","),
        help="comma-separated beginnings of workloads' names, such as 'chat,long: 8' "
        "(default: all)")  # fmt: skip
    add("--rounds", type=int, help="turns of every system (default: 3; --quick: 1)")
    add("--waves", type=int, metavar="N",
        help="each client has N conversations (uniform: of a closed loop, 6, 3 and 2 by default "
        "where 1, 8 and 32 ask): begin and end, when not all run, count for less")  # fmt: skip
    add("--no-goodput", action="store_true", help="lifelike: without the search, half of the time")
    add("--beside", action="append", default=[], metavar="LABEL: [@TREE] OPTIONS",
        help="Forge a second time, such as 'tuned: --workers 2 --slots 16' or, from another "
        "checkout, 'before: @../before --workers 1'; may be repeated")  # fmt: skip
    add("--url", action="append", default=[], metavar="NAME=URL",
        help="an OpenAI server that runs already")  # fmt: skip
    add("--llama-bin", type=Path, help="folder of llama.cpp's programs (default: built once)")
    add("--models", type=Path, default=cache(), help="folder of models that are made")
    add("--slots", type=int, default=32,
        help="uniform: sequences at once (default: 32); lifelike: one for each client")  # fmt: skip
    add("--ctx", type=int, default=32_768, help="KV cells of all together (default: 32768)")
    add("--threads", type=int, default=available_cores(),
        help="of all but a Forge that chooses its shape (default: the cores)")  # fmt: skip
    add("--batch", type=int, default=512, help="uniform: most tokens in a step (default: 512)")
    add("--out", type=Path, default=RESULTS, help="folder for the results")
    add("--add", action="store_true",
        help="add to the report that is in --out, of the same commit, machine and shape: more "
        "rounds, or other workloads")  # fmt: skip
    return parser


def planned(args: argparse.Namespace, plan: Plan | Lifelike) -> Plan | Lifelike:
    """The plan with what the command line says about it."""
    plan = replace(plan, rounds=args.rounds or plan.rounds)
    if isinstance(plan, Plan) and args.waves:
        return replace(plan, waves=dict.fromkeys(plan.waves, args.waves))
    if isinstance(plan, Lifelike):
        plan = resized(plan, args.waves) if args.waves else plan
        return replace(plan, goodput=0) if args.no_goodput else plan
    return plan


def main(argv: list[str] | None = None, plan: Plan | Lifelike | None = None) -> None:
    """The command line; a test brings a plan of its own."""
    parser = arguments()
    args = parser.parse_args(argv)
    suite = SUITES[args.suite]
    plan = planned(args, plan or (suite.quick if args.quick else suite.full))
    args.model = args.model or (suite.quick_models if args.quick else suite.models)
    args.systems = args.systems or [*(suite.quick_systems if args.quick else suite.systems)]
    if unknown := [name for name in args.systems if name not in suite.systems]:
        parser.error(f"--systems: no system is called {unknown[0]}; there are {suite.systems}")
    for name in args.model:
        if name not in (EMBEDDED, *NAMES) and not Path(name).is_file():
            parser.error(f"--model: {name} is no file and none of {[EMBEDDED, *NAMES]}")
    try:
        for text in args.beside:
            beside(text)
        for text in args.url:
            named(text)
    except ValueError as error:
        parser.error(str(error))
    args.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    try:
        for result in run(args, plan, console):
            console.print(report.table(result))
    except Unlike as error:
        parser.error(f"--add: {error}")
    console.print(f"written to {args.out}")


if __name__ == "__main__":
    with interrupted_by(signal.SIGTERM):  # the servers end with it, as with Ctrl-C
        main()
