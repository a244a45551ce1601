"""llama.cpp's backend and log, and the reasons of its failures to load."""

import contextlib
import ctypes
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import llama_cpp

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
    _load_backends(Path(llama_cpp.__file__).parent / "lib")


def _load_backends(folder: Path) -> None:
    """Load llama.cpp's compute backends, if it was built with these as separate libraries.

    A portable build (``GGML_BACKEND_DL``) has one for each generation of CPUs, and ggml takes the
    best for this one. By itself it looks beside the executable, which is Python, and in the working
    directory; its wheel has them in ``folder``. Other builds have a device from the start.
    """
    # llama_cpp does not declare these; they are found through what libllama is linked to.
    ggml: ctypes.CDLL = llama_cpp.llama_cpp._lib
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    if ggml.ggml_backend_dev_count() == 0:
        ggml.ggml_backend_load_all_from_path.argtypes = [ctypes.c_char_p]
        ggml.ggml_backend_load_all_from_path.restype = None
        ggml.ggml_backend_load_all_from_path(os.fsencode(folder))
