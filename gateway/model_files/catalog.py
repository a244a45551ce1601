"""The models on this machine: in the hub's cache, in our own, in folders that are named."""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.config.config import EMBEDDED_MODEL, ConfigError
from gateway.core.split_files import parts
from gateway.model_files import gguf, url_cache
from gateway.model_files.ggml import FILE_TYPES
from gateway.model_files.source import (
    REPOSITORY,
    BadSource,
    Hub,
    Url,
    choose,
    parse,
    quantisation,
    variants,
)
from gateway.system import paths

MAX_NAME = 1024
"""Characters of a name that is looked for."""


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One model, all of it."""

    name: str
    """The value for --model."""
    files: tuple[Path, ...]
    size: int
    modified: float
    """Seconds since the epoch."""
    where: str
    """"hub", "web", "folder" or "embedded"."""

    @property
    def path(self) -> Path:
        return self.files[0]

    def head(self) -> tuple[str, str]:
        """Architecture and quantisation; empty if the file does not say."""
        try:
            said = gguf.head(self.path)
        except gguf.Unreadable as error:
            return "unreadable", str(error)
        kind = FILE_TYPES.get(said.get("general.file_type", -1), "")
        named = quantisation(self.path.name)
        return str(said.get("general.architecture", "")), named or kind


def everything(folders: Iterable[Path] = ()) -> list[CatalogEntry]:
    """All models, those of ``folders`` too, by name."""
    found = [*hub(), *_in_folder(url_cache.cache(), "web"), *embedded()]
    for folder in folders:
        found += _in_folder(folder, "folder")
    return sorted(found, key=lambda entry: entry.name.lower())


def embedded() -> Iterator[CatalogEntry]:
    """The one that Forge brings."""
    yield _entry("forge-tiny", (EMBEDDED_MODEL,), "embedded")


def hub() -> Iterator[CatalogEntry]:
    """The models of the hub's cache: of each repository the newest state that is there."""
    for repository, snapshot in snapshots():
        yield from _in_snapshot(repository, snapshot)


def _in_snapshot(repository: str, snapshot: Path) -> Iterator[CatalogEntry]:
    files = {
        str(path.relative_to(snapshot)): path.stat().st_size
        for path in snapshot.rglob("*.gguf")
        if path.exists()
    }
    there = variants(files)
    quants = [one.quant for one in there]
    for one in there:
        unique = one.quant is not None and quants.count(one.quant) == 1
        name = f"hf:{repository}:{one.quant if unique else one.files[0]}"
        yield _entry(name, tuple(snapshot / file for file in one.files), "hub")


def hub_cache() -> Path:
    """Return the folder where huggingface_hub keeps files; its own rules, without importing it."""
    home = os.environ.get("HF_HOME") or Path(
        os.environ.get("XDG_CACHE_HOME") or paths.home() / ".cache", "huggingface"
    )
    given = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(Path(given or Path(home, "hub")).expanduser()))


def snapshots() -> Iterator[tuple[str, Path]]:
    """Repositories in the hub's cache, and the folder of what was got last."""
    for folder in sorted(hub_cache().glob("models--*")):
        snapshot = _newest(folder)
        if snapshot is not None:
            yield folder.name.removeprefix("models--").replace("--", "/", 1), snapshot


def _newest(folder: Path) -> Path | None:
    """The folder of what was got last of a repository."""
    states = [path for path in folder.glob("snapshots/*") if path.is_dir()]
    return max(states, key=lambda path: path.stat().st_mtime, default=None)


def unfinished() -> list[Path]:
    """The parts of downloads that are not complete."""
    places = (
        hub_cache().glob("models--*/blobs/*.incomplete"),
        url_cache.cache().glob("*/*.incomplete"),
    )
    return sorted(path for place in places for path in place)


def _in_folder(folder: Path, where: str) -> Iterator[CatalogEntry]:
    files = {
        str(path.relative_to(folder)): path.stat().st_size
        for path in folder.rglob("*.gguf")
        if path.is_file()
    }
    for one in variants(files):
        paths = tuple(folder / file for file in one.files)
        yield _entry(str(paths[0]), paths, where)


def _entry(name: str, files: tuple[Path, ...], where: str) -> CatalogEntry:
    states = [path.stat() for path in files]
    size = sum(state.st_size for state in states)
    return CatalogEntry(name, files, size, max(state.st_mtime for state in states), where)


def find(text: str) -> CatalogEntry:
    """The model that ``text`` means, which must be here. Raises :class:`ConfigError`.

    A path, a name that ``forge list`` shows, or a part of one that only one model has.
    """
    path = Path(text)
    if path.is_file():
        return _entry(text, tuple(parts(path)), _home(path))
    source = parse(text)
    if isinstance(source, Url):
        path = url_cache.place(source.url, source.url)
        if not path.exists():
            raise ConfigError(f"{text} is not here; forge pull gets it")
        return _entry(str(path), tuple(parts(path)), "web")
    if isinstance(source, Hub):
        return _of_hub(text, source)
    matches = [entry for entry in everything() if text.lower() in entry.name.lower()]
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = ", ".join(entry.name for entry in matches[:5])
        raise ConfigError(f"{text} may be several: {names}")
    raise ConfigError(f"{text} is neither a file nor a model that forge list shows")


def _of_hub(text: str, source: Hub) -> CatalogEntry:
    for repository, snapshot in snapshots():
        if repository == source.repository and source.commit in (None, snapshot.name):
            files = {
                str(p.relative_to(snapshot)): p.stat().st_size for p in snapshot.rglob("*.gguf")
            }
            if files:
                chosen = choose(files, source)
                return _entry(text, tuple(snapshot / file for file in chosen.files), "hub")
    raise ConfigError(f"{text} is not here; forge pull {text} gets it")


def named(name: str) -> CatalogEntry | None:
    """The model that ``forge list`` shows by this name, found without a look at the others.

    ``hf:ORG/REPO`` is the one that ``forge pull`` would take of the repository's. The name may come
    from a client: nothing outside of the caches is found, whatever it is.
    """
    if len(name) > MAX_NAME:
        return None
    try:
        return next((each for each in _beside(name) if each.name == name), None) or _default(name)
    except (OSError, ValueError, RuntimeError):  # a NUL in it, no home, a file that goes just now
        return None


def _beside(name: str) -> Iterable[CatalogEntry]:
    """The models in the folder of the one that may have this name."""
    if name == EMBEDDED_MODEL.stem:
        return embedded()
    if name.startswith("hf:"):
        return _of_repository(name.removeprefix("hf:").partition(":")[0])
    path = Path(name)
    inside = path.is_relative_to(url_cache.cache()) and ".." not in path.parts
    return _in_folder(path.parent, "web") if inside else ()


def _of_repository(repository: str) -> Iterable[CatalogEntry]:
    if not REPOSITORY.fullmatch(repository):
        return ()
    snapshot = _newest(hub_cache() / f"models--{repository.replace('/', '--')}")
    return () if snapshot is None else _in_snapshot(repository, snapshot)


def _default(name: str) -> CatalogEntry | None:
    repository = name.removeprefix("hf:")
    if not name.startswith("hf:") or ":" in repository:
        return None
    there = {str(each.path): each for each in _of_repository(repository)}
    try:
        chosen = choose({path: each.size for path, each in there.items()}, Hub(repository, None))
    except BadSource:
        return None
    return there.get(chosen.files[0])


def _home(path: Path) -> str:
    """Return the owner of a file."""
    absolute = path.absolute()
    if absolute == EMBEDDED_MODEL:
        return "embedded"
    if absolute.is_relative_to(hub_cache()):
        return "hub"
    return "web" if absolute.is_relative_to(url_cache.cache()) else "folder"


def remove(entry: CatalogEntry) -> int:
    """Delete its files from a cache; the bytes that are free now. Raises :class:`ConfigError`."""
    if entry.where in ("folder", "embedded"):
        raise ConfigError(f"{entry.path} is in no cache; it is yours to delete")
    try:
        return _remove_from_hub(entry) if entry.where == "hub" else _remove_own(entry)
    except OSError as error:
        raise ConfigError(f"can't delete {entry.path}: {error.strerror}") from error


def _remove_from_hub(entry: CatalogEntry) -> int:
    """From all states of the repository. huggingface_hub knows what else uses a content."""
    from huggingface_hub import scan_cache_dir

    wanted = {file.resolve() for file in entry.files}
    cache = scan_cache_dir(hub_cache())
    files = [
        file
        for repository in cache.repos
        for revision in repository.revisions
        for file in revision.files
        if entry.path.is_relative_to(repository.repo_path) and file.file_path.resolve() in wanted
    ]
    plan = cache.delete_files(*files)
    plan.execute()
    return plan.expected_freed_size


def _remove_own(entry: CatalogEntry) -> int:
    for file in entry.files:
        file.unlink()
    if not any(entry.path.parent.iterdir()):
        entry.path.parent.rmdir()
    return entry.size


def age(modified: float, now: float | None = None) -> str:
    """Return an age in the largest unit that fits."""
    seconds = max(0.0, (time.time() if now is None else now) - modified)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if (count := int(seconds // length)) > 0:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
