"""The part of a model that is on a GPU, and so not in the machine's memory. Pure.

llama.cpp offloads the last layers first, and what comes after them (the output) before all; the
embeddings stay.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from gateway.model_files.gguf import Tensor
from workers.protocol import WorkerSpec


class Kept(NamedTuple):
    """The part that stays in the machine's memory."""

    layers: int
    """Number of the layers, from the first one on."""
    output: bool
    moved: tuple[tuple[re.Pattern[str], bool], ...] = ()
    """Names of tensors for which something else was said, and whether these stay."""

    def has(self, tensor: Tensor) -> bool:
        """Return whether a matrix stays."""
        for pattern, stays in self.moved:
            if pattern.search(tensor.name):
                return stays
        layer = re.match(r"blk\.(\d+)\.", tensor.name)
        if layer is not None:
            return int(layer[1]) < self.layers
        return self.output or not tensor.name.startswith("output")


def kept(layers: int, spec: WorkerSpec, *, gpu: bool) -> Kept:
    """Return the part of a model of ``layers`` that stays, with a ``gpu`` or without one."""
    if not gpu:
        return Kept(layers, output=True)
    moved = tuple(_moved(spec))
    if spec.n_gpu_layers == 0:
        return Kept(layers, True, moved)
    if spec.n_gpu_layers < 0:
        return Kept(0, False, moved)
    return Kept(max(0, layers + 1 - spec.n_gpu_layers), False, moved)


def _moved(spec: WorkerSpec) -> Iterator[tuple[re.Pattern[str], bool]]:
    """Tensors that are put elsewhere by their names, as far as Python reads the patterns."""
    for pattern, buffer in spec.tensor_buffers:
        with contextlib.suppress(re.error):
            yield re.compile(pattern), buffer.startswith("CPU")
