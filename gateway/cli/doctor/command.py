"""``forge doctor``: all checks in order, and the report of what they found."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gateway import __version__
from gateway.cli.doctor import compiler, finding, llama, machine, packages
from gateway.cli.doctor.finding import Finding, error

SamplingCheck = Callable[[dict[str, Any]], None]
OK, FAILED = 0, 1
"""Exit codes: with FAILED, ``forge serve`` will not work as it was asked to."""


def run(given: dict[str, Any], file: Path | None, check: SamplingCheck | None = None) -> int:
    """Print the report of ``forge doctor`` with these options; return the exit code.

    ``check`` looks at models' defaults for sampling; None: Forge's dependencies are missing.
    """
    as_json = bool(given.pop("json", False))
    findings = list(looked(given, file, check))
    if as_json:
        print(finding.as_json(__version__, findings))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print(finding.as_text(findings, width))
    return FAILED if finding.worst(findings) == "error" else OK


def looked(
    given: dict[str, Any], file: Path | None, check: SamplingCheck | None
) -> Iterator[Finding]:
    """Look at everything, what ``forge serve`` needs first."""
    yield from packages.interpreter()
    yield from packages.packages()
    if not llama.installed():
        yield from packages.installer()
    yield from compiler.compiler(needed=not llama.installed())
    yield from llama.llama()
    yield machine.processes()
    yield from machine.sizes()
    if check is not None:
        yield from _with_packages(given, file, check)
        return
    yield machine.open_files()
    yield from machine.folders(None)
    message = "models, memory, address and network: not looked at without Forge's dependencies"
    yield error("settings", message, "install what is missing above, then run forge doctor again")


def _with_packages(
    given: dict[str, Any], file: Path | None, check: SamplingCheck
) -> Iterator[Finding]:
    """Look at what Forge's own modules look at, which need its dependencies."""
    from gateway.cli.doctor import network, served, store
    from gateway.config.config import ConfigError
    from gateway.model_files import catalog

    try:
        settings = served.Settings(given, file, check)
    except ConfigError as failure:
        settings = None
        yield error("settings", str(failure), "change this option; forge serve --help explains it")
    most = "auto" if settings is None else settings.config.max_connections
    yield machine.open_files(None if most == "auto" else most)
    yield from machine.folders(catalog.hub_cache)
    yield from machine.disk(catalog.hub_cache)
    if settings is not None:
        yield from served.models(settings)
        yield from served.memory(settings)
        yield from store.place(settings.config)
        yield served.port(settings.config)
    yield network.hub()
