"""The commands about models: ``forge pull``, ``list``, ``show`` and ``rm``."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.cli import console
from gateway.cli.models import prefixes
from gateway.cli.models.asking import ask
from gateway.cli.models.choosing import chosen
from gateway.config.config import ConfigError
from gateway.config.sources import check_model, load
from gateway.core.byte_sizes import readable
from gateway.model_files import catalog, description, gguf, memory_check, memory_fit
from gateway.model_files.memory_estimate import MemoryEstimate
from gateway.model_files.memory_probe import NotPlanned, remembering
from gateway.model_files.source import BadSource
from gateway.system import log_setup, prefix_folders
from gateway.system.paths import NoHome

UNSEEN_WIDTH = 4096
"""Columns where there is no terminal: more than the longest path takes."""


def run(command: str, given: dict[str, Any], file: Path | None) -> int:
    """The exit code of ``forge command``."""
    commands: dict[str, Callable[[dict[str, Any], Path | None], None]] = {
        "pull": pull,
        "list": list_models,
        "show": show_model,
        "rm": remove,
        "cache": prefixes.run,
    }
    with console.interrupted_by(signal.SIGTERM):
        return console.run(
            command,
            lambda: commands[command](given, file),
            refused=(ConfigError, BadSource, NoHome),
            interrupted=console.KEPT if command == "pull" else "interrupted",
        )


def pull(given: dict[str, Any], _: Path | None) -> None:
    """``forge pull``; without a name, one of several that fit this machine is chosen."""
    source = given["source"]
    offer = None if source is not None else chosen()
    path = console.obtain(source if offer is None else offer.suggestion.source)
    check_model(path, "MODEL")
    print(path)
    if offer is not None:
        console.say("pull", f"now: forge serve {offer.options()}")


def list_models(given: dict[str, Any], _: Path | None) -> None:
    """``forge list``."""
    folders = [Path(folder) for folder in given["folders"]]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder")
    entries, partial = catalog.everything(folders), catalog.unfinished()
    if given["json"]:
        print(json.dumps([_as_json(entry) for entry in entries], indent=1))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Model", overflow="fold", min_width=12)
    for heading in ("Architecture", "Type", "Size", "Changed"):
        table.add_column(heading, justify="right" if heading == "Size" else "left", no_wrap=True)
    for entry in entries:
        architecture, kind = entry.head()
        kind = "" if architecture == "unreadable" else kind
        row = (entry.name, architecture, kind, readable(entry.size), catalog.age(entry.modified))
        table.add_row(*(log_setup.escaped(cell).replace("[", r"\[") for cell in row))
    screen = Console(highlight=False, width=screen_width())
    screen.print(table)
    if partial:
        size = readable(sum(path.stat().st_size for path in partial))
        screen.print(f"Unfinished: {len(partial)} with {size}; forge rm --unfinished deletes them.")


def screen_width() -> int | None:
    """Return the columns of a table; None: those of the terminal.

    Into a file or a pipe each row goes on one line, however long its names.
    """
    unseen = not (sys.stdout.isatty() or "COLUMNS" in os.environ)
    return UNSEEN_WIDTH if unseen else None


def _as_json(entry: catalog.CatalogEntry) -> dict[str, Any]:
    architecture, kind = entry.head()
    return {
        "name": entry.name,
        "files": [str(file) for file in entry.files],
        "where": entry.where,
        "size": entry.size,
        "modified": entry.modified,
        "architecture": architecture,
        "quantisation": kind,
    }


def show_model(given: dict[str, Any], file: Path | None) -> None:
    """``forge show``."""
    from gateway.cli.models import show

    as_json, template = given.pop("json"), given.pop("template")
    entry = catalog.find(given.pop("name"))
    try:
        model = gguf.read(entry.path)
    except gguf.Unreadable as error:
        raise ConfigError(str(error)) from error
    if template:
        print(model.metadata.get("tokenizer.chat_template") or "", end="")
        return
    environment = {key: value for key, value in os.environ.items() if key != "FORGE_MODEL"}
    config = load({**given, "model": str(entry.path)}, environment, file)
    told = description.described(entry.name, model)
    with remembering() as probe:
        wanted = memory_check.wanted_by(config, model, probe)
        try:
            told["memory"], reason = show.memory(wanted), None
        except NotPlanned as error:
            told["memory"], reason = None, str(error)
        if as_json:
            print(json.dumps(told, indent=1))
            return
        lines = show.rows(told)
        if reason is not None:
            lines.append(("memory", f"unknown: {reason}"))
        _print_facts(lines)
        if reason is None:
            _print_memory(told["memory"], wanted.need())


def _print_facts(lines: list[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, text in lines:
        facts.add_row(name, log_setup.escaped(text).replace("[", r"\["))
    Console(highlight=False).print(facts)


def _print_memory(memory: dict[str, Any], asked: MemoryEstimate) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from gateway.cli.models import show

    screen = Console(highlight=False)
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading in ("", "each worker", "in all"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in show.memory_rows(asked):
        table.add_row(*row, style="bold" if row[0] == "total" else "")
    shape = f"{_count(memory['workers'], 'worker')}, {_count(memory['slots'], 'slot')} each"
    screen.print(f"\nMemory of forge serve: {shape}", style="bold")
    screen.print(table)
    if memory["free"] is not None:
        free = readable(memory["free"])
        verdict = memory["advice"] or f"It fits: {free} are free."
        screen.print(verdict.removesuffix(memory_fit.TRY_ANYWAY), markup=False)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def remove(given: dict[str, Any], _: Path | None) -> None:
    """``forge rm``."""
    if given["unfinished"]:
        _remove_unfinished(given)
        return
    if given["name"] is None:
        raise ConfigError("which model? forge list shows them")
    entry = catalog.find(given["name"])
    if entry.where in ("folder", "embedded"):
        catalog.remove(entry)  # which says why not
    if not given["yes"]:
        ask(f"Delete {entry.name} ({readable(entry.size)})?")
    of_it = prefix_folders.of_model(entry.files)
    freed = catalog.remove(entry) + sum(map(prefix_folders.clear, of_it))
    print(f"{readable(freed)} are free again.")


def _remove_unfinished(given: dict[str, Any]) -> None:
    partial = catalog.unfinished()
    size = sum(path.stat().st_size for path in partial)
    if not partial:
        print("Nothing is unfinished.")
        return
    if not given["yes"]:
        ask(f"Delete {len(partial)} unfinished files ({readable(size)})?")
    for path in partial:
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.validator").unlink(missing_ok=True)
    print(f"{readable(size)} are free again.")
