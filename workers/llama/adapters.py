"""LoRA adapters in memory, beside the weights that they change, and which a context applies.

An adapter belongs to a model and serves all of its contexts. llama.cpp counts the nodes of graphs
by the adapters that there are, and reads them when it makes graphs anew: so they come and go in the
engine's thread alone.
"""

import ctypes
import os
import stat
from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol

import llama_cpp

from workers.llama.library import LoadFailed, loading
from workers.protocol import ANY_TIME, NO_ADAPTERS, AdapterFile, AdapterSet, digest_of

DESCRIPTORS = "/proc/self/fd"


class AdapterFailed(Exception):
    """An adapter that can't be loaded; the text is one line fit for the operator."""


class Applying(Protocol):
    """A context, as far as adapters know it."""

    def adapt(self, adapters: AdapterSet) -> bool: ...


class Adapters:
    """The adapters of one model, by the digests of their files."""

    def __init__(self, model: "llama_cpp.llama_model_p") -> None:
        self._model = model
        self._handles: dict[str, llama_cpp.llama_adapter_lora_p] = {}
        self._invocations: dict[str, tuple[int, ...]] = {}
        """Tokens of activated adapters, from whose last occurrence on they count."""
        self._contexts: list[Applying] = []

    def __contains__(self, digest: str) -> bool:
        return digest in self._handles

    def __iter__(self) -> Iterator[str]:
        return iter(self._handles)

    def join(self, context: Applying) -> None:
        """A context may apply them from now on."""
        self._contexts.append(context)

    def leave(self, context: Applying) -> None:
        """A context is about to be closed."""
        self._contexts.remove(context)

    def load(self, file: AdapterFile) -> None:
        """Load an adapter, unless it is there. Raises :class:`AdapterFailed`."""
        if file.digest in self._handles:
            return
        descriptor = _opened(file)
        try:
            with loading(file.shown, [_path(descriptor)]):
                path = _path(descriptor).encode()
                handle = llama_cpp.llama_adapter_lora_init(self._model, path)
                if not handle:
                    raise LoadFailed("llama.cpp can't load this adapter")
        except LoadFailed as error:
            raise AdapterFailed(str(error)) from error
        finally:
            os.close(descriptor)
        self._handles[file.digest] = handle
        count = llama_cpp.llama_adapter_get_alora_n_invocation_tokens(handle)
        if count:
            tokens = llama_cpp.llama_adapter_get_alora_invocation_tokens(handle)
            self._invocations[file.digest] = tuple(tokens[:count])

    def invocation(self, adapters: AdapterSet) -> tuple[int, ...]:
        """Return the tokens from whose last occurrence on a set counts; none: it counts all along.

        Only one adapter alone can wait for its invocation. May be called by any thread.
        """
        return self._invocations.get(adapters[0][0], ()) if len(adapters) == 1 else ()

    def unload(self, digest: str) -> None:
        """Free an adapter, if it is there."""
        handle = self._handles.pop(digest, None)
        self._invocations.pop(digest, None)
        if handle is None:
            return
        for context in self._contexts:
            # A context compares addresses, and another adapter may get this one's.
            context.adapt(NO_ADAPTERS)
        llama_cpp.llama_adapter_lora_free(handle)

    def missing(self, adapters: AdapterSet) -> bool:
        """Return whether one of a set is not here."""
        return any(digest not in self._handles for digest, _ in adapters)

    def apply(self, context: "llama_cpp.llama_context_p", adapters: AdapterSet) -> None:
        """Have a context compute with these adapters from now on."""
        count = len(adapters)
        # The bindings' stub and their own type for an array of these differ.
        array: Any = llama_cpp.llama_adapter_lora_p_ctypes * count
        handles = array(*(self._handles[digest] for digest, _ in adapters))
        scales = (ctypes.c_float * count)(*(scale for _, scale in adapters))
        llama_cpp.llama_set_adapters_lora(context, handles, count, scales)


def _opened(file: AdapterFile) -> int:
    """Open the file that was checked. Raises :class:`AdapterFailed`."""
    reason = "it can't be opened"
    for path in file.paths:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            reason = f"it can't be opened ({error.strerror})"
            continue
        if _same(descriptor, file):
            return descriptor
        os.close(descriptor)
        elsewhere = file.written_ns == ANY_TIME
        written = "it was written since it was loaded first"
        reason = "it is another than the gateway's" if elsewhere else written
    raise AdapterFailed(f"{file.shown}: {reason}")


def _same(descriptor: int, file: AdapterFile) -> bool:
    """Return whether a file is the one that was checked."""
    found = os.fstat(descriptor)
    if found.st_size != file.size or not stat.S_ISREG(found.st_mode):
        return False
    if file.written_ns == ANY_TIME:
        return digest_of(partial(os.pread, descriptor)) == file.digest
    return found.st_mtime_ns == file.written_ns


def _path(descriptor: int) -> str:
    """Return a path by which a library opens what this process has open."""
    folder = DESCRIPTORS if os.path.isdir(DESCRIPTORS) else "/dev/fd"
    return f"{folder}/{descriptor}"
