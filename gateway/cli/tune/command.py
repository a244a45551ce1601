"""The command ``forge tune``."""

import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from gateway.cli.console import Exit, interrupted_by, obtain
from gateway.cli.progress import Progress
from gateway.cli.tune import report
from gateway.cli.tune.options import TuneOptions
from gateway.cli.tune.plan import Result, Setting
from gateway.cli.tune.search import Found, NothingMeasured, Search
from gateway.cli.tune.trial import TrialMeasurer
from gateway.config import tuning_profile
from gateway.config.config import Config, ConfigError
from gateway.config.sources import load
from gateway.system.host import Machine, this_machine

SLICES = 240
"""The time for one measurement is the whole time divided by this: half a second of two minutes."""


def run(given: Mapping[str, Any], file: Path | None, wishes: TuneOptions) -> Exit:
    """Measure, show, and write the file; the exit code.

    ``given`` are options of the command line, ``file`` a config file. Raises :class:`ConfigError`,
    or KeyboardInterrupt when a signal ends it: then nothing was written.
    """
    config = load(given, os.environ, file, obtain)
    machine = this_machine()
    base, fixed = start(config, machine.cores)
    path = check_outputs(config, wishes)
    with interrupted_by(signal.SIGINT, signal.SIGTERM), Progress("seconds") as bar:
        found = search(config, base, fixed, machine, wishes, bar)
    report.show(found, Console())
    if wishes.json is not None:
        wishes.json.write_text(json.dumps(everything(found, machine), indent=1), "utf-8")
    if wishes.plot is not None:
        from gateway.cli.tune import plot

        plot.draw(found, wishes.plot)
    save(path, config, machine, found)
    print(f"Written to {path}: forge serve uses it for this model (--tuned off: not).")
    return Exit.OK


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
        config.repack != "off",
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
    """Return the result's path, checked here rather than after minutes of measuring.

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


def search(
    config: Config,
    base: Setting,
    fixed: frozenset[str],
    machine: Machine,
    wishes: TuneOptions,
    bar: Progress,
) -> Found:
    """Raises :class:`ConfigError` if nothing could be measured."""

    def tell(done_s: float, total_s: float, what: str) -> None:
        bar("tune", done_s, max(total_s, done_s), what)

    tell(0, wishes.seconds, "")
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
    tell(wishes.seconds, wishes.seconds, "done")
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
