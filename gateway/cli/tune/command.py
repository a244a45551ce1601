"""The command ``forge tune``."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from gateway.cli.tune import report
from gateway.cli.tune.options import TuneOptions
from gateway.cli.tune.plan import Result, Setting
from gateway.cli.tune.search import Found, NothingMeasured, Search
from gateway.cli.tune.trial import TrialMeasurer
from gateway.config import tuning_profile
from gateway.config.config import Config, ConfigError
from gateway.config.sources import load
from gateway.model_files.resolve import obtain
from gateway.system.host import Machine, this_machine

SLICES = 240
"""The time for one measurement is the whole time divided by this: half a second of two minutes."""


def run(given: Mapping[str, Any], file: Path | None, wishes: TuneOptions) -> int:
    """Measure, show, and write the file; the exit code.

    ``given`` are options of the command line, ``file`` a config file. Raises :class:`ConfigError`,
    or KeyboardInterrupt when a signal ends it: then nothing was written.
    """
    config = load(given, os.environ, file, obtain)
    machine = this_machine()
    base, fixed = start(config, machine.cores)
    path = check_outputs(config, wishes)
    errors = Console(stderr=True)
    with (
        ended_by_signals(),
        Progress(*_columns(), console=errors, disable=not errors.is_terminal) as bar,
    ):
        found = search(config, base, fixed, machine, wishes, bar)
    report.show(found, Console())
    if wishes.json is not None:
        wishes.json.write_text(json.dumps(everything(found, machine), indent=1), "utf-8")
    if wishes.plot is not None:
        from gateway.cli.tune import plot

        plot.draw(found, wishes.plot)
    save(path, config, machine, found)
    print(f"Written to {path}: forge serve uses it for this model (--tuned off: not).")
    return 0


def _columns() -> tuple[Any, ...]:
    return (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        _TimeLeft(),
    )


class _TimeLeft(ProgressColumn):
    """The task's total is in seconds; what it will come to is better known than its speed."""

    def render(self, task: Task) -> Text:
        if task.finished:
            return Text()
        left = max(0.0, (task.total or 0.0) - (task.elapsed or 0.0))
        return Text(f"{left:.0f} s left", style="cyan")


def start(config: Config, cores: int) -> tuple[Setting, frozenset[str]]:
    """The cheap rule's setting, and what is not to be changed. Raises :class:`ConfigError`."""
    shape = config.shape(cores)
    if shape.workers * shape.threads > cores:
        threads = f"{shape.workers} x {shape.threads} threads"
        raise ConfigError(f"--workers, --threads: {threads} are more than the {cores} cores")
    base = Setting(
        shape.workers,
        shape.threads,
        shape.slots,
        config.repack,
        config.flash_attn,
        config.cache_type_k,
        config.cache_type_v,
        None if config.ctx == "auto" else config.ctx,
    )
    fixed = {
        name
        for name in (*tuning_profile.SHAPE, *tuning_profile.CACHE)
        if tuning_profile.is_set(config, name)
    }
    return base, frozenset(fixed)


def check_outputs(config: Config, wishes: TuneOptions) -> Path:
    """Where the result will go; not to be found impossible after minutes of measuring.

    Raises :class:`ConfigError`.
    """
    try:
        path = tuning_profile.path_for(
            config.model, tuning_profile.fingerprint(config.model), os.environ
        )
        path.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"can't write below {os.environ.get('HOME')}: {error}") from error
    for option, place in (("--json", wishes.json), ("--plot", wishes.plot), ("result", path)):
        if place is not None and not os.access(place.parent, os.W_OK | os.X_OK):
            raise ConfigError(f"{option}: can't write into {place.parent}")
    if wishes.plot is not None and find_spec("matplotlib") is None:
        raise ConfigError("--plot needs matplotlib: pip install matplotlib")
    return path


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM is as Ctrl-C, also where that was ignored: who measures then ends its processes."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def search(
    config: Config,
    base: Setting,
    fixed: frozenset[str],
    machine: Machine,
    wishes: TuneOptions,
    bar: Progress,
) -> Found:
    """Raises :class:`ConfigError` if nothing could be measured."""
    task = bar.add_task("", total=wishes.seconds)

    def tell(done_s: float, total_s: float, what: str) -> None:
        bar.update(task, completed=done_s, total=max(total_s, done_s), description=what)

    measure = TrialMeasurer(config, wishes.seconds / SLICES)
    search = Search(
        base,
        fixed,
        machine.cores,
        measure,
        time.monotonic,
        wishes.seconds,
        tell,
        allow_lossy=wishes.allow_kv_quant,
    )
    try:
        found = search.run()
    except NothingMeasured as error:
        raise ConfigError(f"nothing could be measured: {error}") from error
    bar.update(task, completed=wishes.seconds, total=wishes.seconds, description="done")
    return found


def save(path: Path, config: Config, machine: Machine, found: Found) -> None:
    """Write what ``forge serve`` will read."""
    chosen = found.chosen
    options = {name: value for name, value in asdict(chosen.setting).items() if value is not None}
    result = tuning_profile.Tuned(
        tuning_profile.fingerprint(config.model), machine, config.n_gpu_layers, options
    )
    measured = {
        "output-tokens-per-second": round(chosen.output, 1),
        "per-stream": round(chosen.stream, 1),
        "alone": round(chosen.alone, 1),
        "memory-mib": round(chosen.memory / report.MIB),
    }
    if found.gain is not None:
        measured["times-the-automatic-shape"] = round(found.gain, 3)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    tuning_profile.write(path, result, config.model.absolute(), now, measured)


def everything(found: Found, machine: Machine) -> dict[str, Any]:
    """All results as JSON."""

    def one(result: Result) -> dict[str, Any]:
        return asdict(result) | {"output": result.output, "alone": result.alone}

    return {
        "machine": machine._asdict(),
        "stages": [
            {
                "name": stage.name,
                "results": [one(result) for result in stage.results],
                "chosen": asdict(stage.chosen.setting),
            }
            for stage in found.stages
        ],
        "skipped": found.skipped,
        "chosen": asdict(found.chosen.setting),
        "gain": found.gain,
    }
