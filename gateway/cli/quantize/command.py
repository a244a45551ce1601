"""``forge quantize``."""

import contextlib
import errno
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.cli import console
from gateway.cli.progress import Progress
from gateway.cli.quantize import loss, process, types
from gateway.cli.quantize.report import QuantizeOutcome, as_json, show
from gateway.config.config import Config, ConfigError
from gateway.core.byte_sizes import readable
from gateway.model_files import catalog, gguf
from gateway.model_files.ggml import TYPES
from gateway.system.host import available_cores
from workers.protocol import Compare, Error, Pair, Score, Scored, Shrink, Tick, Where

ROOM = 1.05
"""Room above the estimate that the new file may take."""
_NUMBERS = {kind.name: number for number, kind in TYPES.items()}


class QuantizeRefused(Exception):
    """The reason why nothing is written, in one line."""


REFUSED = (
    ConfigError,
    QuantizeRefused,
    gguf.Unreadable,
    process.QuantizeJobError,
    types.NoSuchType,
)


def run(given: dict[str, Any]) -> int:
    """The exit code."""
    with console.interrupted_by(signal.SIGTERM):
        return console.run("quantize", lambda: _run(given), refused=REFUSED)


def _run(given: dict[str, Any]) -> None:
    wanted, target = types.parse(given["type"]), Path(given["target"])
    text = None if given["text"] is None else _text(given["text"])
    entry = catalog.find(given["source"])
    source = gguf.read(entry.path)
    _check(entry.path, target, replace=given["force"])
    _check_room(source, target, wanted.bits)
    threads = given["threads"] or available_cores()
    # The model as it was is judged first: if it can't be, hours of work are spared.
    scores = [] if text is None else [_score(entry.path, text, given["window"], threads, "before")]
    with _partial(target) as partial:
        job = Shrink(
            source=os.fspath(entry.path.resolve()),
            target=os.fspath(partial),
            file_type=wanted.number,
            threads=threads,
            pure=given["pure"],
            requantize=given["allow_requantize"],
        )
        _shrink(job, wanted.name)
        result = gguf.read(partial)
        changes = _compare(source, result)
        if text is not None:
            scores.append(_score(partial, text, given["window"], threads, "after"))
        os.replace(partial, target)
    outcome = QuantizeOutcome(str(target), wanted.name, source.size, result.size, changes, scores)
    if given["json"]:
        print(json.dumps(as_json(outcome), indent=1))
    else:
        show(outcome)


# ---------------------------------------------------------------------- before


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise QuantizeRefused(f"--text: can't read {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise QuantizeRefused(f"--text: {file} is not UTF-8") from None


def _check(source: Path, target: Path, *, replace: bool) -> None:
    """Raises :class:`QuantizeRefused` if nothing should be written there."""
    for name, path in {"IN": source, "OUT": target}.items():
        if not console.is_text(os.fspath(path.resolve())):
            raise QuantizeRefused(f"{name}: the path {path} is not UTF-8")
    folder = target.parent
    if not folder.is_dir():
        raise QuantizeRefused(f"OUT: {folder} is not a folder")
    if not os.access(folder, os.W_OK):
        raise QuantizeRefused(f"OUT: {folder} can't be written to")
    if target.is_dir():
        raise QuantizeRefused(f"OUT: {target} is a folder")
    if target.exists() and not target.is_file():
        raise QuantizeRefused(f"OUT: {target} is not a regular file")
    if target.exists() and target.samefile(source):
        raise QuantizeRefused("OUT is the same file as IN")
    if target.exists() and not replace:
        raise QuantizeRefused(f"OUT: {target} is there already (--force replaces it)")


def _check_room(source: gguf.Gguf, target: Path, bits: float) -> None:
    """Raises :class:`QuantizeRefused` where the new file does not fit on the disk."""
    matrices = sum(each.values for each in source.tensors if len(each.shape) > 1)
    need = int(ROOM * min(source.size, matrices * bits / 8))
    free = shutil.disk_usage(target.parent).free
    if need > free:
        raise QuantizeRefused(
            f"OUT: about {readable(need)} are needed in {target.parent}, and "
            f"{readable(free)} are free"
        )


@contextlib.contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """A name beside ``target`` for what is not whole yet; nothing of that name is left."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield partial
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise QuantizeRefused(f"OUT: no space is left in {target.parent}") from error
        raise QuantizeRefused(f"OUT: {error.strerror}: {target}") from error
    finally:
        partial.unlink(missing_ok=True)


# ---------------------------------------------------------------------- the work


def _shrink(job: Shrink, name: str) -> None:
    with Progress("steps") as bar:
        bar(f"to {name}", 0, None)
        try:
            for told in process.run(job):
                if isinstance(told, Tick):
                    bar(f"to {name}", told.done, told.total, told.name)
        except process.QuantizeJobError as error:
            if "requantizing" in str(error):
                raise QuantizeRefused(
                    f"IN is quantised already ({error}); --allow-requantize makes it smaller all "
                    "the same, but better start from F16, BF16 or F32"
                ) from error
            raise


def _compare(source: gguf.Gguf, result: gguf.Gguf) -> list[loss.Change]:
    """Each tensor of the new file beside what it was."""
    after = {each.name: each for each in result.tensors}
    files = _files(source)
    pairs = [
        Pair(each.name, each.values, each.shape[0],
             _where(files[each.name], each), _where(result.files[0], after[each.name]))
        for each in source.tensors
        if each.name in after and each.type.name in _NUMBERS
    ]  # fmt: skip
    errors: dict[str, Error] = {}
    with Progress("steps") as bar:
        bar("comparing weights", 0, len(pairs))
        for told in process.run(Compare(pairs)):
            if isinstance(told, Error):
                errors[told.name] = told
                bar("comparing weights", len(errors), len(pairs), told.name)
    return [
        loss.Change(each, after[each.name], errors.get(each.name))
        for each in source.tensors
        if each.name in after
    ]


def _files(model: gguf.Gguf) -> dict[str, Path]:
    """Return the part of a split model that each tensor is in."""
    if len(model.files) == 1:
        return {each.name: model.files[0] for each in model.tensors}
    return {each.name: file for file in model.files for each in gguf.contents(file)}


def _where(file: Path, tensor: gguf.Tensor) -> Where:
    return Where(os.fspath(file.resolve()), tensor.offset, _NUMBERS[tensor.type.name])


def _score(model: Path, text: str, window: int, threads: int, when: str) -> Scored:
    spec = Config(
        model=model, workers=1, slots=1, threads=threads, ctx=window,
        batch=max(128, min(window, 2048)), repack="off",
    ).worker_spec()  # fmt: skip
    with Progress("steps") as bar:
        bar(f"perplexity {when}", 0, None)
        for told in process.run(Score(spec, text, window)):
            if isinstance(told, Tick):
                bar(f"perplexity {when}", told.done, told.total)
            if isinstance(told, Scored):
                return told
    raise process.QuantizeJobError("no perplexity came")
