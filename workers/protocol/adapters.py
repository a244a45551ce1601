"""LoRA adapters as gateway and workers name them; a part of :mod:`workers.protocol`.

An adapter's name on the wire is the digest of its file: two files of one name are two adapters, and
what was computed with one is never found by requests for the other.
"""

import struct
from collections.abc import Callable, Iterable
from hashlib import blake2b

import msgspec

AdapterSet = tuple[tuple[str, float], ...]
"""Adapters that are applied together: their digests and scales, in the digests' order."""
NO_ADAPTERS: AdapterSet = ()


class AdapterFile(msgspec.Struct, frozen=True):
    """An adapter for workers to load."""

    digest: str
    """Of the file's contents."""
    paths: tuple[str, ...]
    """Paths by which it may be opened, the likeliest first."""
    shown: str
    """Its path as operators know it."""
    size: int
    written_ns: int
    """Bytes and time of the file that was checked: no other is loaded. Time ANY_TIME: by its bytes
    and its whole contents, as on another machine."""


ANY_TIME = -1
CHUNK = 1 << 20


def digest_of(read: Callable[[int, int], bytes]) -> str:
    """Return the digest of a file's contents. ``read`` gives so many bytes from a place on."""
    hash_, at = blake2b(digest_size=16, person=b"forge adapter"), 0
    while chunk := read(CHUNK, at):
        hash_.update(chunk)
        at += len(chunk)
    return hash_.hexdigest()


def adapter_set(scaled: Iterable[tuple[str, float]]) -> AdapterSet:
    """Return adapters in the form that equal sets share: in order, and none without effect."""
    sums = dict[str, float]()
    for digest, scale in scaled:
        sums[digest] = sums.get(digest, 0.0) + scale
    return tuple(sorted((digest, scale) for digest, scale in sums.items() if scale))


def scope_of(cache_scope: str, adapters: AdapterSet, start: int = 0) -> str:
    """Return the name under which requests with these adapters share what is computed.

    Without adapters it is ``cache_scope``, which is empty or hexadecimal; so no name of one kind is
    one of the other. ``start``: the token from which on they count.
    """
    if not adapters:
        return cache_scope
    hash_ = blake2b(digest_size=16, person=b"forge adapters")
    for part in (cache_scope, *(digest for digest, _ in adapters)):
        hash_.update(len(part.encode()).to_bytes(8) + part.encode())
    hash_.update(struct.pack(f"<{len(adapters)}dQ", *(scale for _, scale in adapters), start))
    return f"lora {hash_.hexdigest()}"


class LoadAdapter(msgspec.Struct, frozen=True, tag="load_adapter"):
    """Load an adapter between two steps. Answered by :class:`AdapterLoaded`."""

    file: AdapterFile


class UnloadAdapter(msgspec.Struct, frozen=True, tag="unload_adapter"):
    """Forget an adapter that no request needs any more; generations that do are failed."""

    digest: str


class AdapterLoaded(msgspec.Struct, frozen=True, tag="adapter_loaded"):
    """The worker has an adapter, or ``problem`` says why it can't have it."""

    digest: str
    problem: str = ""
