"""The results of ``forge tune``, in a file that ``forge serve`` finds again.

``~/.config/forge/tuned/NAME-FINGERPRINT.toml``. It counts below everything that a person has set,
and only while the model, the machine and llama.cpp are those that were measured.
"""

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from gateway.config.config import Config
from gateway.core.validation import explain
from gateway.system.host import Machine, this_machine
from gateway.system.paths import config_folder

HEAD = 1 << 20
"""Bytes of a model file that are hashed: see :func:`fingerprint`."""
SHAPE = ("workers", "threads", "slots", "repack", "ctx")
CACHE = ("flash_attn", "cache_type_k", "cache_type_v")
GROUPS = (SHAPE, CACHE)
"""Options that were measured together. If one of a group is set to something else, none of the
others: half of a measured shape may be worse than none, or more threads than cores."""
ALONE = ("ctx",)
"""Options of a group that may be set to something else all the same."""


class Fingerprint(NamedTuple):
    """The identity of a model, as far as speed goes."""

    size: int
    head: str
    """SHA-256 of the file's first bytes."""

    @property
    def short(self) -> str:
        """For names of files."""
        return hashlib.sha256(f"{self.size} {self.head}".encode()).hexdigest()[:12]


def fingerprint(model: Path) -> Fingerprint:
    """Cheap for 100 GB, and enough: a GGUF begins with the architecture, its sizes and the kind of
    quantisation, and the size of the file tells one mixture of types from another. The weights'
    values make no difference to speed. Raises OSError.
    """
    with model.open("rb") as stream:
        head = stream.read(HEAD)
    return Fingerprint(model.stat().st_size, hashlib.sha256(head).hexdigest())


def folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of the files. Raises RuntimeError if this user has no home."""
    return config_folder(environment) / "tuned"


def path_for(model: Path, mark: Fingerprint, environment: Mapping[str, str]) -> Path:
    """The file for a model."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", model.stem)[:80]
    return folder(environment) / f"{name}-{mark.short}.toml"


@dataclass(frozen=True, slots=True)
class Tuned:
    """Measured options, and what they were measured on."""

    model: Fingerprint
    machine: Machine
    n_gpu_layers: int
    options: Mapping[str, Any]
    """Under the names of :class:`Config`'s fields."""

    def differs(self, machine: Machine, config: Config) -> str | None:
        """Return the first difference from what was measured; None if there is none."""
        for now, then, what in (
            (machine.cpu, self.machine.cpu, "CPU"),
            (machine.cores, self.machine.cores, "number of cores"),
            (machine.llama_cpp_python, self.machine.llama_cpp_python, "llama-cpp-python"),
            (machine.build, self.machine.build or machine.build, "build of llama.cpp"),
            (config.n_gpu_layers, self.n_gpu_layers, "--n-gpu-layers"),
        ):
            if now != then:
                return f"{what} was {then}, is {now}"
        return None


class Unusable(Exception):
    """A file that is not as :func:`write` makes it; one line that says why."""


def write(
    path: Path,
    tuned: Tuned,
    model: Path,
    date: str,
    measured: Mapping[str, Any],
    by: str = "forge tune",
) -> None:
    """``measured``: numbers for people, under names of their own. ``by``: what measured.

    Raises OSError.
    """
    tables = {
        "model": {
            "path": str(model).encode("utf-8", "replace").decode(),
            "size": tuned.model.size,
            "head-sha256": tuned.model.head,
            "n-gpu-layers": tuned.n_gpu_layers,
        },
        "machine": {name.replace("_", "-"): it for name, it in tuned.machine._asdict().items()},
        "options": {name.replace("_", "-"): value for name, value in tuned.options.items()},
        "measured": measured,
    }
    lines = [f"# Written by `{by}`; `forge serve` uses [options] for this model and machine."]
    lines.append(f"date = {_toml(date)}")
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    # All of it or nothing: a server may start just now.
    scratch = path.with_suffix(f".{os.getpid()}.tmp")
    scratch.write_text("\n".join([*lines, ""]), encoding="utf-8")
    scratch.replace(path)


def _toml(value: Any) -> str:
    """JSON's strings, numbers and booleans are TOML's, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read(path: Path) -> Tuned:
    """Raises :class:`Unusable`, or FileNotFoundError if there is none."""
    try:
        with path.open("rb") as stream:
            content = tomllib.load(stream)
        model, machine = content["model"], content["machine"]
        options = {key.replace("-", "_"): value for key, value in content["options"].items()}
        unknown = set(options) - {*SHAPE, *CACHE}
        if unknown:
            raise Unusable(f"{sorted(unknown)[0]} is none of its options")
        checked = Config(**options)
        tuned = Tuned(
            Fingerprint(model["size"], model["head-sha256"]),
            Machine(
                machine["cpu"],
                machine["cores"],
                machine["llama-cpp-python"],
                machine.get("build", ""),
            ),
            model["n-gpu-layers"],
            {name: getattr(checked, name) for name in options},
        )
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unusable(str(error.strerror)) from error
    except ValidationError as error:
        problem = explain(error, options)
        raise Unusable(f"{problem.path[0]}: {problem.reason}") from error
    except KeyError as error:
        raise Unusable(f"{error.args[0]} is missing") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Unusable(str(error)) from error
    if checked.shape(1).workers * checked.shape(1).threads > tuned.machine.cores:
        raise Unusable("it has more threads than cores")
    return tuned


def fitting(config: Config, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the measured ``options`` that are not set otherwise and fit to what is set."""
    taken = dict[str, Any]()
    for group in GROUPS:
        values = {name: options[name] for name in group if name in options}
        decided = {name: getattr(config, name) for name in group if is_set(config, name)}
        if all(name in ALONE or values.get(name) == value for name, value in decided.items()):
            taken |= {name: value for name, value in values.items() if name not in decided}
    return taken


def is_set(config: Config, name: str) -> bool:
    """Tell if a person decided this option; "auto" is no decision."""
    return name in config.model_fields_set and getattr(config, name) != "auto"


def apply(
    config: Config,
    environment: Mapping[str, str],
    machine: Callable[[], Machine] = this_machine,
) -> tuple[Config, str | None]:
    """``config`` with what was measured for its model, and a line that tells about it, if any."""
    if config.tuned == "off":
        return config, None
    try:
        mark = fingerprint(config.model)
        path = path_for(config.model, mark, environment)
        tuned = read(path)
    except (FileNotFoundError, RuntimeError):
        return config, None
    except OSError as error:
        return config, f"no look at what `forge tune` measured: {error.strerror}"
    except Unusable as reason:
        return config, f"{path} is not used: {reason}"
    difference = "another model" if tuned.model != mark else tuned.differs(machine(), config)
    if difference is not None:
        return config, f"{path} is not used: {difference}; run `forge tune` again"
    taken = fitting(config, tuned.options)
    if not taken:
        return config, f"{path} is not used: other options are set"
    return config.model_copy(update=taken), f"options measured by `forge tune`: {path}"
