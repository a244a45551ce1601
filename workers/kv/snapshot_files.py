"""Snapshots in files: they outlive their worker, and the workers of a model share them.

A file is written under another name and then renamed, so under its own it is whole. Its head says
which snapshot it is, and the digest of the states that follow; the head is authenticated with a
secret of this user. llama.cpp trusts the states that it is given, so they are read into memory
first and checked there: what is changed in the file later changes nothing.

Other processes may write, use and delete files at any time, or die while they do. Writers take
turns by a lock that ends with its process, so an unfinished file that the next one finds is
rubbish. Only regular files that this user alone can read are opened, in a folder that is as much
this user's; whatever else is wrong with one costs no more than that it is not found.
"""

import contextlib
import fcntl
import hmac
import os
import stat
import time
from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b, sha256
from typing import NamedTuple

import msgspec

from workers.kv.snapshots import Mark, PrefixSnapshot
from workers.kv.state import SequenceState

MAGIC = b"forgekv1"
TAG_BYTES, LENGTH_BYTES = 32, 4
PREFACE_BYTES = len(MAGIC) + TAG_BYTES + LENGTH_BYTES
MOST_HEAD_BYTES = 32 << 20
MOST_FILES = 4096
"""Each costs a look-up some memory and the start a read."""
SUFFIX, UNFINISHED, LOCK = ".kv", ".tmp", "lock"
PATIENCE_S, PAUSE_S = 2.0, 0.02
"""Time that a writer waits for its turn, and time between two looks."""
TICK_NS = 100_000_000
"""A folder that changed less than this before a look may change again without a new time."""
_NOTHING = memoryview(b"")


class _Facts(msgspec.Struct, array_like=True):
    """A state without its bytes."""

    end: int
    """Tokens that it is the state of."""
    size: int
    parts: tuple[int, ...]
    last: int
    streams: int


class _Head(msgspec.Struct, array_like=True):
    binding: bytes
    scope: str
    tokens: bytes
    whole: _Facts
    marks: list[_Facts] | None
    digest: bytes
    """Of all states, in this order."""


class _Entry(NamedTuple):
    name: str
    size: int
    used_ns: int


class Refused(Exception):
    """A file that is not one of ours, or not as it was written."""


class FoundFile(NamedTuple):
    """A file that a look found."""

    name: str
    snapshot: PrefixSnapshot
    """Without its states: what they hold is known, to be loaded when it is needed."""
    size: int


class SnapshotFiles:
    """A folder of snapshots, at most so many bytes of them; the least recently used go first."""

    def __init__(self, folder: str, capacity: int, secret: bytes, binding: bytes) -> None:
        """``binding``: what states depend on, so that none of another model is taken.

        Raises OSError if there is no such folder, or others may enter it.
        """
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self._folder = os.open(folder, flags)
        found = os.fstat(self._folder)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            os.close(self._folder)
            raise PermissionError(f"{folder} is not this user's alone")
        # As long as it is in use, forge cache leaves the folder itself in its place.
        with contextlib.suppress(OSError):
            fcntl.flock(self._folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        self._capacity = capacity
        self._secret = secret
        self._binding = binding
        self._known = set[str]()
        self._looked = (-1, False)
        """Time of the folder's last change, and whether that was settled then."""

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._folder)

    def name(self, scope: str, tokens: Sequence[int]) -> str:
        """Return the name of the file for a snapshot; it tells nothing about the tokens."""
        hash_ = blake2b(digest_size=16, key=self._secret, person=b"forge name")
        for part in (scope.encode(), array("i", tokens).tobytes()):
            hash_.update(len(part).to_bytes(8) + part)
        return hash_.hexdigest() + SUFFIX

    # ------------------------------------------------------------------ writing

    def write(self, snapshot: PrefixSnapshot) -> str | None:
        """Write a file, and return its name; None if there is no room for it. Raises OSError."""
        name = self.name(snapshot.scope, snapshot.tokens)
        if self.use(name):
            return name
        pieces = [snapshot.state.data, *(mark.state.data for mark in snapshot.marks or ())]
        head = self._head(snapshot, pieces)
        pieces = [memoryview(head), *pieces]
        size = sum(map(len, pieces))
        if size > self._capacity or len(head) > MOST_HEAD_BYTES:
            return None
        with self._turn() as ours:
            if not ours:
                return None
            self._make_room(size)
            self._put(name, pieces)
        return name

    def _head(self, snapshot: PrefixSnapshot, pieces: Sequence[memoryview]) -> bytes:
        digest = sha256()
        for piece in pieces:
            digest.update(piece)
        marks = snapshot.marks
        head = msgspec.msgpack.encode(
            _Head(
                self._binding,
                snapshot.scope,
                array("i", snapshot.tokens).tobytes(),
                _facts(len(snapshot.tokens), snapshot.state),
                None if marks is None else [_facts(mark.end, mark.state) for mark in marks],
                digest.digest(),
            )
        )
        return MAGIC + self._tag(head) + len(head).to_bytes(LENGTH_BYTES, "little") + head

    def _tag(self, head: bytes) -> bytes:
        key, person = self._secret, b"forge head"
        return blake2b(head, digest_size=TAG_BYTES, key=key, person=person).digest()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[bool]:
        """Wait for the turn to change the folder; False if another holds it for too long."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        lock = os.open(LOCK, flags, 0o600, dir_fd=self._folder)
        try:
            yield _locked(lock)
        finally:
            os.close(lock)

    def _make_room(self, size: int) -> None:
        """Delete what is unfinished, and then the least recently used."""
        for name in self._names(UNFINISHED):
            self.remove(name)
        entries = sorted(self._entries(), key=lambda entry: entry.used_ns)
        total = size + sum(entry.size for entry in entries)
        for at, entry in enumerate(entries):
            if total <= self._capacity and len(entries) - at < MOST_FILES:
                return
            self.remove(entry.name)
            total -= entry.size

    def _put(self, name: str, pieces: Sequence[memoryview]) -> None:
        scratch = name + UNFINISHED
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(scratch, flags, 0o600, dir_fd=self._folder)
        try:
            for piece in pieces:
                at = 0
                while at < len(piece):
                    at += os.write(file, piece[at:])
            os.rename(scratch, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError:
            self.remove(scratch)
            raise
        finally:
            os.close(file)

    # ------------------------------------------------------------------ what is there

    def use(self, name: str) -> bool:
        """Make a file the last to go; False if it is not there."""
        try:
            os.utime(name, dir_fd=self._folder, follow_symlinks=False)
        except OSError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._folder)

    def look(self) -> tuple[list[FoundFile], list[str]] | None:
        """Return files that are new and names that are gone; None if nothing has changed.

        The first time all are new. Those that are refused are deleted.
        """
        try:
            changed_ns = os.fstat(self._folder).st_mtime_ns
            if self._looked == (changed_ns, True):
                return None
            self._looked = changed_ns, abs(time.time_ns() - changed_ns) > TICK_NS
            names = set(self._names(SUFFIX))
        except OSError:
            return None
        found = [each for name in names - self._known if (each := self._found(name)) is not None]
        gone = sorted(self._known - names)
        self._known = self._known & names | {each.name for each in found}
        return found, gone

    def _found(self, name: str) -> FoundFile | None:
        try:
            with self._opened(name) as file:
                head, at = self._read_head(file)
                return FoundFile(name, _snapshot(head, None), os.fstat(file).st_size - at)
        except Refused:
            self.remove(name)
        except OSError:
            pass  # just deleted, or not for us to read
        return None

    def read(self, name: str) -> PrefixSnapshot | None:
        """Read a snapshot; None if it is gone or refused. Then it is deleted."""
        try:
            with self._opened(name) as file:
                head, at = self._read_head(file)
                data = memoryview(bytearray(os.fstat(file).st_size - at))
                _read(file, data, at)
            if not hmac.compare_digest(sha256(data).digest(), head.digest):
                raise Refused("its states are not those that were written")
        except Refused:
            self.remove(name)
            return None
        except (OSError, MemoryError):
            return None
        self.use(name)
        return _snapshot(head, data)

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        """Raises OSError, or :class:`Refused`."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(name, flags, dir_fd=self._folder)
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                raise PermissionError(name)
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise Refused("others may read it")
            yield file
        finally:
            os.close(file)

    def _read_head(self, file: int) -> tuple[_Head, int]:
        """Return the head, and where the states begin. Raises OSError, or :class:`Refused`."""
        size = os.fstat(file).st_size
        if not PREFACE_BYTES <= size <= self._capacity:
            raise Refused("too short, or too long")
        preface = memoryview(bytearray(PREFACE_BYTES))
        _read(file, preface, 0)
        tag = bytes(preface[len(MAGIC) : -LENGTH_BYTES])
        length = int.from_bytes(preface[-LENGTH_BYTES:], "little")
        if preface[: len(MAGIC)] != MAGIC or length > min(MOST_HEAD_BYTES, size - PREFACE_BYTES):
            raise Refused("no head")
        data = memoryview(bytearray(length))
        _read(file, data, PREFACE_BYTES)
        if not hmac.compare_digest(self._tag(bytes(data)), tag):
            raise Refused("not written with our secret")
        try:
            head = msgspec.msgpack.decode(data, type=_Head)
        except msgspec.MsgspecError as error:
            raise Refused("another form") from error
        states = [head.whole, *(head.marks or ())]
        at = PREFACE_BYTES + length
        if head.binding != self._binding or sum(each.size for each in states) != size - at:
            raise Refused("of another model, or cut off")
        return head, at

    def _names(self, suffix: str) -> list[str]:
        with os.scandir(self._folder) as entries:
            return [entry.name for entry in entries if entry.name.endswith(suffix)]

    def _entries(self) -> list[_Entry]:
        found = []
        for name in self._names(SUFFIX):
            with contextlib.suppress(OSError):
                is_ = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
                if stat.S_ISREG(is_.st_mode):
                    found.append(_Entry(name, is_.st_size, is_.st_mtime_ns))
        return found


def _locked(lock: int) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(PAUSE_S)
        else:
            return True


def _read(file: int, into: memoryview, at: int) -> None:
    """Fill ``into`` from ``at`` on. Raises :class:`Refused` if the file is too short."""
    done = 0
    while done < len(into):
        count = os.preadv(file, [into[done:]], at + done)
        if not count:
            raise Refused("cut off")
        done += count


def _facts(end: int, state: SequenceState) -> _Facts:
    return _Facts(end, state.size, state.parts, state.end, state.streams)


def _snapshot(head: _Head, data: memoryview | None) -> PrefixSnapshot:
    """A snapshot with the states in ``data``, or without any."""
    at = 0

    def state(facts: _Facts) -> SequenceState:
        nonlocal at
        start, at = at, at + facts.size
        found = _NOTHING if data is None else data[start:at]
        return SequenceState(found, facts.parts, facts.last, facts.streams)

    tokens = array("i")
    tokens.frombytes(head.tokens)
    whole = state(head.whole)
    marks = None if head.marks is None else [Mark(each.end, state(each)) for each in head.marks]
    return PrefixSnapshot(head.scope, tokens, whole, marks)
