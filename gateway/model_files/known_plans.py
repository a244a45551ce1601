"""Sizes of contexts that llama.cpp has told before: it tells the same of the same.

To ask it takes a process that loads llama.cpp, two thirds of a second before a server's own start.
So its answers are kept in a file of the user's cache, each under a mark of all that they depend on:
the model's files, the options of its workers, the build of llama.cpp and the machine.
"""

import contextlib
import hashlib
import os
from pathlib import Path

import msgspec

from gateway.core.split_files import parts
from gateway.system.host import this_machine
from gateway.system.paths import cache_folder
from workers.protocol import ContextMemory, WorkerSpec, encode

MOST = 256
"""Answers in the file; the oldest go."""
MOST_BYTES = 1 << 20
"""A larger file is none of ours."""
_decoder = msgspec.json.Decoder(dict[str, ContextMemory])


def usual_file() -> Path | None:
    """Return the path of the file; None if this user has no home."""
    try:
        return cache_folder() / "contexts.json"
    except RuntimeError:
        return None


def mark(spec: WorkerSpec) -> str | None:
    """Return what an answer about ``spec`` stands under.

    None for one that is not to be kept: drivers of GPUs have a say in it, or no file is there.
    """
    if spec.n_gpu_layers:
        return None
    # These words and times concern no context.
    asked = msgspec.structs.replace(
        spec, model_path="", name="", log_level="", log_format="console", patience=(),
        chat_template=None,
    )  # fmt: skip
    made = hashlib.sha256(encode(asked))
    try:
        made.update(repr(this_machine()).encode())
        for file in parts(Path(spec.model_path)):
            found = file.stat()
            identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            made.update(repr(identity).encode())
    except (OSError, ValueError):
        return None
    return made.hexdigest()[:32]


class KnownPlans:
    """The answers of earlier questions, in a file that servers of one user share."""

    def __init__(self, file: Path | None) -> None:
        """``file`` None: nothing is known, nor kept."""
        self._file = file

    def find(self, mark: str) -> ContextMemory | None:
        return self._read().get(mark)

    def add(self, mark: str, plan: ContextMemory) -> None:
        """Keep an answer. Where there is no room for it, it is asked for again.

        Of two servers that write at once one answer is lost, which does no harm.
        """
        if self._file is None:
            return
        known = self._read()
        known[mark] = plan
        for oldest in [*known][:-MOST]:
            del known[oldest]
        scratch = self._file.with_name(f"{self._file.name}.{os.getpid()}.tmp")
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            scratch.write_bytes(msgspec.json.encode(known))
            scratch.replace(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)

    def _read(self) -> dict[str, ContextMemory]:
        """Return the file's answers; none if there is no file, or another one than we write."""
        if self._file is None:
            return {}
        try:
            with self._file.open("rb") as stream:
                return _decoder.decode(stream.read(MOST_BYTES))
        except (OSError, msgspec.MsgspecError):
            return {}
