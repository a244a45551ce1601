"""The configuration's four sources: command line > environment > config file (TOML) > defaults."""

import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config.config import Config, ConfigError, ModelSources
from gateway.core.validation import ValidationProblem, explain, shown

WITH_PROJECTOR = "+mmproj"
"""The end of an hf: source that brings the projector of its repository, too."""

REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*(?<!\.gguf)")
"""A name that other servers look for on the hub, and that is a path here."""


def load(
    arguments: Mapping[str, Any],
    environment: Mapping[str, str],
    file: Path | None,
    obtain: Callable[[str], Path] = Path,
) -> Config:
    """Merge the sources. Raises :class:`ConfigError`.

    ``arguments`` holds only what was given on the command line, under the fields' names.
    ``obtain`` makes a file of what is given as the model, once everything else is found to be
    right; it may take hours.
    """
    values, origin = said(arguments, environment, file)
    values.pop("models", None)  # one model is meant, and it is none of these
    return obtained(validated(values, origin), values, origin, obtain)


def said(
    arguments: Mapping[str, Any], environment: Mapping[str, str], file: Path | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the sources say together, and of each option where it was said."""
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    if file is not None:
        for key, value in read_toml(file, "--config").items():
            name = key.replace("-", "_")
            shown = key if key.isprintable() else repr(key)
            values[name], origin[name] = value, f"{shown} in {file}"
    variables = {name: f"FORGE_{name.upper()}" for name in Config.model_fields}
    said_there = [
        (name, environment[each], each) for name, each in variables.items() if each in environment
    ]
    said_here = [(name, value, "--" + name.replace("_", "-")) for name, value in arguments.items()]
    for name, value, place in [*said_there, *said_here]:
        if name == "sampling" and name in values:  # field by field
            values[name] = sampling_parts(values[name], value)
            origin[name] = f"{origin[name]}, {place}"
        else:
            values[name], origin[name] = value, place
    return values, origin


def sampling_parts(before: Any, value: Any) -> list[Any]:
    """Return what is said of ``sampling`` in two places, of which the second counts more."""
    both = (before, value)
    return [part for each in both for part in (each if isinstance(each, list) else [each])]


def validated(values: Mapping[str, Any], origin: Mapping[str, str]) -> Config:
    """Raises :class:`ConfigError`, which tells where the wrong value was set."""
    try:
        return Config(**values)
    except ValidationError as error:
        problem = explain(error, values)
        name = problem.path[0]
        reason = _reason(name, problem)
        raise ConfigError(f"{origin.get(name, name)}: {reason}") from None


def obtained(
    config: Config,
    values: Mapping[str, Any],
    origin: Mapping[str, str],
    obtain: Callable[[str], Path],
) -> Config:
    """With the model's file. Raises :class:`ConfigError` if it can't be had, or is no GGUF."""
    at = origin.get("model", "--model")
    if "model" in values:
        try:
            text = str(values["model"])
            source = f"{text}{WITH_PROJECTOR}" if _brings_projector(text, config) else text
            config = config.with_files(ModelSources(text), model=obtain(source))
        except ConfigError as error:
            raise type(error)(f"{at}: {error}") from error
    check_model(config.model, at)
    return _with_projector(config, origin.get("mmproj", "--mmproj"), obtain)


def _brings_projector(text: str, config: Config) -> bool:
    """Return whether a download of the model should bring its projector, if there is one."""
    return config.mmproj == "auto" and text.startswith("hf:") and WITH_PROJECTOR not in text


def _with_projector(config: Config, at: str, obtain: Callable[[str], Path]) -> Config:
    """Return it with the file of a projector that is named. Raises :class:`ConfigError`."""
    if config.mmproj in ("auto", "none"):
        return config
    try:
        path = obtain(config.mmproj)
    except ConfigError as error:
        raise type(error)(f"{at}: {error}") from error
    check_model(path, at)
    sources = config.sources._replace(mmproj=config.mmproj)
    return config.with_files(sources, mmproj=str(path))


def _reason(name: str, problem: ValidationProblem) -> str:
    if problem.kind == "unknown":
        return "there is no such option"
    annotation = str(Config.model_fields[name].annotation)
    if "SecretStr" in annotation:
        return problem.reason
    kind = "a whole number" if "int" in annotation else "a number"
    auto = f"'auto' or {kind} in range" if "Literal['auto']" in annotation else ""
    reason = f"expected {auto}" if auto else problem.reason
    return f"{reason}, not {shown(problem.value)}"


def read_toml(file: Path, option: str) -> dict[str, Any]:
    """Return the content of a TOML file that ``option`` names. Raises :class:`ConfigError`."""
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"{option}: can't read {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{option}: {file} is not valid TOML: {error}") from error


def check_model(path: Path, origin: str = "--model") -> None:
    """Raises :class:`ConfigError` unless ``path`` is a readable file that begins like a GGUF."""
    magic = b""
    try:
        # A FIFO or a device is not opened: it would be waited for.
        odd = not (stat.S_ISREG(mode := path.stat().st_mode) or stat.S_ISDIR(mode))
        if not odd:
            with path.open("rb") as stream:
                magic = stream.read(4)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        hint = f"; the hub's is hf:{path}" if REPOSITORY.fullmatch(str(path)) else ""
        raise ConfigError(f"{origin}: can't read {path}: {reason}{hint}") from error
    if odd:
        raise ConfigError(f"{origin}: {path} is not a regular file")
    if magic != b"GGUF":
        raise ConfigError(f"{origin}: {path} is not a GGUF file")
