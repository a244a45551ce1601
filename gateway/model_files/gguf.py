"""The header of a GGUF file: all but its weights.

The format is described in ggml's docs/gguf.md: a header, keys with values, a list of tensors, and
the weights. Only the first three are read: milliseconds, also for a file of 100 GB.
"""

import contextlib
import mmap
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from gateway.core.split_files import parts
from gateway.model_files.ggml import TYPES, TensorType

MAGIC = b"GGUF"
STRING, ARRAY = 8, 9
NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
"""Types of values, by struct's letters."""
MOST_DIMENSIONS = 8
"""Of a tensor: ggml has four."""

T = TypeVar("T")


class Unreadable(Exception):
    """No GGUF, or a part of one; a line that says why."""


class Tensor(NamedTuple):
    """One matrix; ``shape`` has the length of a row first."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int = 0
    """Bytes of its file before its weights."""

    @property
    def values(self) -> int:
        """The number of its elements."""
        return prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.type.bytes_for(self.values)


@dataclass(frozen=True, slots=True)
class Gguf:
    """The metadata and the tensors of a model, of all its parts."""

    metadata: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    size: int
    """Bytes of all files."""
    files: tuple[Path, ...]


def read(path: Path) -> Gguf:
    """Read the header of a file and of its other parts. Raises :class:`Unreadable`."""
    files = parts(path)
    metadata: dict[str, Any] = {}
    tensors = list[Tensor]()
    for file in files:
        found, inside = _read_one(file)
        metadata = {**found, **metadata}  # the first part has what matters
        tensors += inside
    return Gguf(metadata, tuple(tensors), sum(file.stat().st_size for file in files), tuple(files))


class OneFile(NamedTuple):
    """The header of one file, with the types of its values."""

    metadata: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    kinds: Mapping[str, int]
    """GGUF's numbers of the values' types."""


def read_one(path: Path) -> OneFile:
    """Read the header of this one file. Raises :class:`Unreadable`."""
    metadata, tensors = _read_one(path)
    return OneFile(metadata, tuple(tensors), _read(path, _Reader.kinds))


def contents(path: Path) -> list[Tensor]:
    """The tensors of this one file, which may be a part. Raises :class:`Unreadable`."""
    return _read_one(path)[1]


def head(path: Path) -> dict[str, Any]:
    """Read the header up to the vocabulary, which is quick.

    Raises :class:`Unreadable`.
    """
    return _read(path, _Reader.beginning)[0]


def check_whole(path: Path) -> None:
    """Raises :class:`Unreadable` if this one file is none or not all of one."""
    _read(path, _Reader.everything)


def stated_size(path: Path) -> int | None:
    """Return the bytes that this one file has by its list of contents, however many are here.

    None where that has a kind of tensors whose size is not known. Values are passed over, so the
    memory does not depend on the file's. Raises :class:`Unreadable` for an incomplete list.
    """
    return _read(path, _Reader.length)


def _read_one(path: Path) -> "_Contents":
    return _read(path, _Reader.everything)


def _read(path: Path, how: "Callable[[_Reader], T]") -> T:
    try:
        with path.open("rb") as stream, _mapped(stream.fileno()) as data:
            if data[:4] != MAGIC:
                raise _Wrong("not a GGUF file")
            return how(_Reader(data))
    except OSError as error:
        raise Unreadable(f"can't read {path}: {error.strerror}") from error
    except (struct.error, IndexError, KeyError, OverflowError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path} is damaged: its list of contents can't be read") from error
    except _Wrong as error:
        raise Unreadable(f"{path} is {error}") from error


@contextlib.contextmanager
def _mapped(descriptor: int) -> Iterator[mmap.mmap]:
    try:
        data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except ValueError as error:
        raise _Wrong("empty") from error
    with data:
        yield data


_Contents = tuple[dict[str, Any], list[Tensor]]


class _Wrong(Exception):
    """The fault of a file that is no good GGUF."""


class _Reader:
    """Reads one file from its begin on."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, 4
        # Version 1 had shorter counts, and such files are gone.
        version, self._tensors, self._keys = self._take("<IQQ")
        if version not in (2, 3):
            raise _Wrong(f"of GGUF version {version}; 2 and 3 are known")

    def beginning(self) -> _Contents:
        """Keys up to the vocabulary's."""
        metadata = dict[str, Any]()
        for _ in range(self._keys):
            key = self._string()
            if key.startswith("tokenizer."):
                break
            metadata[key] = self._value(self._number("I"))
        return metadata, []

    def everything(self) -> _Contents:
        metadata = {self._string(): self._value(self._number("I")) for _ in range(self._keys)}
        tensors, end = list[Tensor](), 0
        for _ in range(self._tensors):
            tensors.append(self._tensor())
            end = max(end, tensors[-1].offset + tensors[-1].size)
        begin = self._weights(metadata.get("general.alignment", 32))
        if tensors and len(self._data) < begin + end:
            raise _Wrong(f"cut off: it has {len(self._data):,} of {begin + end:,} bytes")
        return metadata, [each._replace(offset=begin + each.offset) for each in tensors]

    def kinds(self) -> dict[str, int]:
        """Types of values by their keys."""
        found = dict[str, int]()
        for _ in range(self._keys):
            key, kind = self._string(), self._number("I")
            found[key] = kind
            self._pass_over(kind)
        return found

    def length(self) -> int | None:
        alignment: Any = 32
        for _ in range(self._keys):
            key, kind = self._string(), self._number("I")
            if key == "general.alignment":
                alignment = self._value(kind)
            else:
                self._pass_over(kind)
        end, known = 0, True
        for _ in range(self._tensors):
            tensor = self._tensor()
            end = max(end, tensor.offset + tensor.size)
            known = known and tensor.type.size > 0
        return self._weights(alignment) + end if known else None

    def _weights(self, alignment: Any) -> int:
        """Return where they begin, behind the list of contents."""
        if not isinstance(alignment, int) or alignment < 1:
            raise KeyError
        return -(-self._at // alignment) * alignment

    def _tensor(self) -> Tensor:
        """Its offset counts from where all weights begin."""
        name = self._string()
        dimensions = self._number("I")
        if dimensions > MOST_DIMENSIONS:  # the product of very many takes for ever
            raise KeyError
        shape = self._take(f"<{dimensions}Q")
        kind = self._number("I")
        # A type that is new to us is llama.cpp's to judge.
        known = TYPES.get(kind, TensorType(f"type {kind}", 1, 0))
        return Tensor(name, shape, known, self._number("Q"))

    def _take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return values

    def _number(self, letter: str) -> Any:
        return self._take(f"<{letter}")[0]

    def _bytes(self) -> bytes:
        size = self._number("Q")
        self._skip(size)
        return self._data[self._at - size : self._at]

    def _string(self) -> str:
        return self._bytes().decode("utf-8", "replace")

    def _pass_over(self, kind: int) -> None:
        """Go behind a value."""
        if kind == STRING:
            self._bytes()
        elif kind != ARRAY:
            self._number(NUMBERS[kind])
        else:
            inner, count = self._take("<IQ")
            if inner in NUMBERS:
                self._skip(count * struct.calcsize(f"<{NUMBERS[inner]}"))
            elif inner == ARRAY:
                raise KeyError
            else:
                for _ in range(count):
                    self._skip(self._number("Q"))

    def _skip(self, size: int) -> None:
        self._at += size
        if self._at > len(self._data):
            raise IndexError

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._string()
        if kind != ARRAY:
            return self._number(NUMBERS[kind])
        inner, count = self._take("<IQ")
        if inner in NUMBERS:
            return self._take(f"<{count}{NUMBERS[inner]}")
        if inner == ARRAY or count > len(self._data):
            raise KeyError
        return [self._string() for _ in range(count)]
