"""``python -m workers.tools.quantize``: llama.cpp's quantiser, and its loss of quality.

A process for each job: the quantiser blocks, and some files make it end the process.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from workers import llama
from workers.parent import die_with_parent
from workers.protocol.jobs import (
    Compare,
    Done,
    Error,
    FromJob,
    Job,
    JobFailed,
    Pair,
    Score,
    Scored,
    Shrink,
    Tick,
    Where,
)

Write = Callable[[FromJob], None]

PIECE = 1 << 20
"""Weights that are compared at once: some megabytes."""
SHORTEST = 32
"""Tokens of a text below which a perplexity says nothing."""


class Impossible(Exception):
    """A job can't be done; the text is the reason, in one line."""


# ---------------------------------------------------------------------- errors of weights


class Weights:
    """A tensor's weights in a file, as floats."""

    def __init__(self, where: Where) -> None:
        self._packing = llama.Packing(where.type)
        self._bytes = np.memmap(where.file, np.uint8, "r", where.offset)

    def floats(self, first: int, count: int) -> NDArray[np.float32]:
        """Return ``count`` weights from number ``first`` on; both at a block's border."""
        size, block = self._packing.size, self._packing.block
        return self._packing.floats(
            self._bytes[first // block * size : (first + count) // block * size]
        )


def error_of(pair: Pair) -> Error:
    """Sum a tensor's errors in pieces of whole rows, so that no tensor is too large."""
    before, after = Weights(pair.before), Weights(pair.after)
    step = max(1, PIECE // pair.row) * pair.row
    absolute = squared = power = 0.0
    for first in range(0, pair.values, step):
        count = min(step, pair.values - first)
        old = before.floats(first, count).astype(np.float64)
        lost = old - after.floats(first, count)
        absolute += float(np.abs(lost).sum())
        squared += float(np.square(lost).sum())
        power += float(np.square(old).sum())
    return Error(pair.name, absolute, squared, power)


# ---------------------------------------------------------------------- perplexity


def windows(tokens: list[int], size: int) -> Iterator[list[int]]:
    """Yield whole consecutive windows; of a shorter text all of it."""
    if len(tokens) < size:
        yield tokens
    for first in range(0, len(tokens) - size + 1, size):
        yield tokens[first : first + size]


def score(job: Score, write: Write) -> Scored:
    """Score the second half of each window given the first, as llama-perplexity does.

    Raises :class:`Impossible` and :class:`workers.llama.LoadFailed`.
    """
    model = llama.Model(job.spec)
    context = llama.Context(
        model, job.spec, llama.geometries(model, job.spec).choose([job.spec.n_ctx or 1])
    )
    if not context.generates:
        raise Impossible("the model embeds or ranks and predicts no tokens")
    tokens = model.tokenize(job.text, parse_special=False)
    if len(tokens) < SHORTEST:
        raise Impossible(f"the text has {len(tokens)} tokens; {SHORTEST} are the least")
    scored, nats = 0, 0.0
    all_windows = list(windows(tokens, job.window))
    for at, window in enumerate(all_windows):
        write(Tick(at, len(all_windows)))
        if model.adds_bos:
            window[0] = tokens[0]  # BOS, the beginning of a text
        found = _nats(context, window)
        nats += float(found.sum())
        scored += len(found)
    return Scored(scored, nats)


def _nats(context: llama.Context, window: list[int]) -> NDArray[np.float64]:
    """Return minus the log probability of each token of the second half."""
    half, step = len(window) // 2, min(context.rows, len(window))
    context.drop(0)
    _decode(context, 0, window[: half - 1], 1)
    found = list[float]()
    for first in range(half - 1, len(window) - 1, step):
        chunk = window[first : min(first + step, len(window) - 1)]
        _decode(context, first, chunk, len(chunk))
        for row in range(len(chunk)):
            logits = context.logits(row).astype(np.float64)
            logits -= logits.max()
            found.append(float(np.log(np.exp(logits).sum()) - logits[window[first + row + 1]]))
    return np.array(found)


def _decode(context: llama.Context, first: int, tokens: list[int], rows: int) -> None:
    status = context.decode([(0, first, tokens, rows)])
    if status != llama.OK:
        raise Impossible(f"llama_decode failed with {status}")


# ---------------------------------------------------------------------- the process


def serve(job: Job, write: Write) -> None:
    """Do the job and write its result."""
    llama.initialise()
    try:
        if isinstance(job, Shrink):
            llama.shrink(job, lambda done, total, name: write(Tick(done, total, name)))
        elif isinstance(job, Compare):
            for pair in job.pairs:
                write(error_of(pair))
        else:
            write(score(job, write))
        write(Done())
    except (Impossible, llama.LoadFailed, llama.ShrinkFailed) as error:
        write(JobFailed(str(error)))


def main() -> None:
    """Entry of the process."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    # Output of libraries must not get between our lines.
    with os.fdopen(os.dup(1), "wb") as ours:
        os.dup2(2, 1)

        def write(message: FromJob) -> None:
            ours.write(msgspec.json.encode(message) + b"\n")
            ours.flush()

        serve(msgspec.json.decode(sys.stdin.buffer.read(), type=Job), write)


if __name__ == "__main__":
    main()
