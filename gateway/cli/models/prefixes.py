"""``forge cache``: the prefixes that ``--cache-disk`` keeps."""

import json
from pathlib import Path
from typing import Any

from gateway.cli.models.asking import ask
from gateway.config.config import ConfigError
from gateway.core.byte_sizes import readable
from gateway.system import prefix_folders
from gateway.system.log_setup import escaped
from gateway.system.prefix_folders import PrefixFolder


def run(given: dict[str, Any], _: Path | None) -> None:
    """``forge cache``. Raises :class:`ConfigError`."""
    name = given["name"] or ""
    folders = [each for each in prefix_folders.listed() if name.lower() in each.path.name.lower()]
    if name and not folders:
        raise ConfigError(f"{name} is no part of a name that forge cache shows")
    if given["action"] == "clear":
        _clear(folders, sure=given["yes"])
    elif given["json"]:
        print(json.dumps([_as_json(each) for each in folders], indent=1))
    else:
        _show(folders)


def _clear(folders: list[PrefixFolder], *, sure: bool) -> None:
    if not folders:
        print("There are no prefixes on the disk.")
        return
    size = sum(each.size for each in folders)
    if not sure:
        ask(f"Delete {sum(each.files for each in folders)} prefixes ({readable(size)})?")
    print(f"{readable(sum(map(prefix_folders.clear, folders)))} are free again.")


def _as_json(folder: PrefixFolder) -> dict[str, Any]:
    return {
        "folder": str(folder.path),
        "model": folder.about.model,
        "forge": folder.about.forge,
        "llama_cpp_python": folder.about.llama_cpp_python,
        "prefixes": folder.files,
        "size": folder.size,
    }


def _show(folders: list[PrefixFolder]) -> None:
    for each in folders:
        name, model = escaped(each.path.name), escaped(each.about.model)
        print(f"{name}  {each.files} prefixes, {readable(each.size)}, of {model}")
    if not folders:
        print("There are no prefixes on the disk; forge serve --cache-disk keeps some.")
