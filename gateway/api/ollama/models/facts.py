"""Facts about models from their files, each read once for each state of a file."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from gateway.core.clock import NANO
from gateway.model_files import description, gguf
from gateway.model_files.ggml import FILE_TYPES
from gateway.model_files.ownership import CONTENT
from gateway.model_files.shape import HeaderValues
from gateway.model_files.source import quantisation

T = TypeVar("T")

KEPT: Final = 256
"""Facts that are remembered."""
LONGEST: Final = 64
"""Values of a list in the metadata that is told without being asked for."""


@dataclass(frozen=True, slots=True)
class FileState:
    """The files of a model as they are now."""

    files: tuple[Path, ...]
    size: int
    modified_ns: int

    @property
    def modified_at(self) -> str:
        """The time of the last change, as RFC 3339 has it."""
        seconds, rest = divmod(self.modified_ns, NANO)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"

    @property
    def digest(self) -> str:
        """The content's SHA-256 where the hub's cache has it as a name; else one of the state."""
        content = self.files[0].resolve().name
        if CONTENT.fullmatch(content):
            return content
        said = f"{self.files[0]} {self.size} {self.modified_ns}".encode("utf-8", "replace")
        return hashlib.sha256(said).hexdigest()


class Brief(NamedTuple):
    """A model in a few words."""

    family: str
    parameters: str
    quantisation: str
    context: int
    width: int


class ModelFacts(NamedTuple):
    """All that a file says of its model, but for its long lists."""

    told: dict[str, Any]
    """Description, as of :func:`gateway.model_files.description.described`."""
    metadata: dict[str, Any]


class FileFacts:
    """Reads files in threads, one after the other: to read a large vocabulary takes a while."""

    def __init__(self) -> None:
        self._known: OrderedDict[object, Any] = OrderedDict()
        self._reading = asyncio.Lock()

    async def brief(self, state: FileState) -> Brief:
        """Return a model in a few words."""
        return await self._once(("brief", state), lambda: _brief(state.files[0]))

    async def all_of(self, state: FileState, template: str | None) -> ModelFacts:
        """Return all facts; ``template`` stands for the file's. Raises gguf.Unreadable."""
        return await self._once((template, state), lambda: _facts(state.files[0], template))

    async def alone(self, read: Callable[[], T]) -> T:
        """Return the result of a reading that is too large to be remembered."""
        async with self._reading:
            return await asyncio.to_thread(read)

    async def _once(self, key: object, read: Callable[[], T]) -> T:
        if key not in self._known:
            async with self._reading:
                if key not in self._known:
                    self._known[key] = await asyncio.to_thread(read)
                    while len(self._known) > KEPT:
                        self._known.popitem(last=False)
        found: T = self._known[key]
        return found


def state_of(files: Sequence[Path]) -> FileState | None:
    """Return the state of a model's files; None if one of them is not there."""
    try:
        states = [file.stat() for file in files]
    except OSError:
        return None
    newest = max(state.st_mtime_ns for state in states)
    return FileState(tuple(files), sum(state.st_size for state in states), newest)


def _brief(path: Path) -> Brief:
    named = quantisation(path.name) or ""
    try:
        head = gguf.head(path)
        said = HeaderValues(head)
        label = head.get("general.size_label")
        count = head.get("general.parameter_count")
        if not isinstance(label, str) or not label:
            if not isinstance(count, int):
                count = sum(tensor.values for tensor in gguf.read(path).tensors)
            label = _rounded(count)
    except gguf.Unreadable:
        return Brief("", "", named, 0, 0)
    kind = named or FILE_TYPES.get(head.get("general.file_type", -1), "")
    width = said.number("embedding_length")
    return Brief(said.architecture, label, kind, said.number("context_length"), width)


def _rounded(count: int) -> str:
    """Return a number of parameters as people write it: 1.2B, 134.5M, 900K."""
    for letter, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= size:
            return f"{count / size:.1f}".removesuffix(".0") + letter
    return str(count)


def _facts(path: Path, template: str | None) -> ModelFacts:
    model = gguf.read(path)
    return ModelFacts(description.described("", model, template), metadata(model, verbose=False))


def metadata(model: gguf.Gguf, *, verbose: bool) -> dict[str, Any]:
    """Return the metadata as JSON has it; null for long lists, unless ``verbose``."""

    def told(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return list(value) if verbose or len(value) <= LONGEST else None
        return value

    found = {key: told(value) for key, value in model.metadata.items()}
    parameters = sum(tensor.values for tensor in model.tensors)
    return {"general.parameter_count": parameters, **found}
