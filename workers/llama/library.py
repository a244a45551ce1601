"""llama.cpp's backend and log, and the reasons of its failures to load."""

import contextlib
import ctypes
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import llama_cpp

from workers.llama import amx

log = logging.getLogger("forge.llama")


class LoadFailed(Exception):
    """The model or the context could not be made; the text is one line fit for the operator."""


def readable(path: str) -> str:
    """Return a path fit for messages: names of files need not be UTF-8."""
    return path.encode("utf-8", "replace").decode()


_LEVELS = {3: logging.INFO, 4: logging.ERROR}
"""By GGML log level; llama.cpp is chatty, so the others are debug lines here."""
_TOLD = ("failed to mlock", "Bad metadata override type")
"""Texts in warnings about options that fail; llama.cpp goes on without them."""
_errors: list[str] = []
_loading = False


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def forward_log(level: int, text: bytes, _: ctypes.c_void_p) -> None:
    line = text.decode("utf-8", "replace").strip()
    if level == 4 and _loading:
        _errors.append(line)
    elif _loading and any(text in line for text in _TOLD):
        log.warning("llama.cpp: %s", " ".join(line.split()))
    elif line.strip("."):
        log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)


@contextlib.contextmanager
def loading(what: str, files: Sequence[str] = ()) -> Iterator[None]:
    """Turn errors that llama.cpp logs meanwhile into the reason of a :class:`LoadFailed`.

    ``files`` are paths by which it opens ``what``, and that tell an operator nothing.
    """
    global _loading
    _loading = True
    try:
        yield
    except LoadFailed as failure:
        reason = f": {_errors[0]}" if _errors else ""
        for file in files:
            reason = reason.replace(file, what)
        raise LoadFailed(f"{what}: {failure}{reason}") from None
    finally:
        _loading = False
        _errors.clear()


def initialise() -> None:
    """Start llama.cpp's backend once per process and route its log into ours.

    An abort inside llama.cpp would start a debugger for a backtrace and end seconds later; the
    supervisor wants to know at once. ``forward_log`` is a module global because llama.cpp crashes
    if Python collects it.
    """
    os.environ["GGML_NO_BACKTRACE"] = "1"
    llama_cpp.llama_log_set(forward_log, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    amx.load_backends(_ggml(), Path(llama_cpp.__file__).parent / "lib")


def extra_buffers() -> tuple[str, ...]:
    """Return ggml's names for the kinds of memory in which it repacks weights for this CPU.

    None where :func:`amx_fails`. Needs :func:`initialise`.
    """
    return () if amx_fails() else tuple(amx.extra_buffers(_ggml()))


def amx_fails() -> bool:
    """Return whether llama.cpp would compute with the CPU's AMX, and die of it."""
    return amx.AMX in amx.extra_buffers(_ggml()) and not amx.works(_ggml()._name)


def _ggml() -> ctypes.CDLL:
    """Return ggml, whose functions are found through what libllama is linked to."""
    found: ctypes.CDLL = llama_cpp.llama_cpp._lib
    return found
