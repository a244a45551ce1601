"""The part of a model that is on a GPU, and so not in the machine's memory. Pure.

llama.cpp offloads the last layers first, and what comes after them (the output) before all; the
embeddings stay.
"""

import re
from typing import NamedTuple

from gateway.model_files.gguf import Tensor
from workers.protocol import WorkerSpec


class Kept(NamedTuple):
    """The part that stays in the machine's memory."""

    layers: int
    """So many of the first ones."""
    output: bool

    def has(self, tensor: Tensor) -> bool:
        """Return whether a matrix stays."""
        layer = re.match(r"blk\.(\d+)\.", tensor.name)
        if layer is not None:
            return int(layer[1]) < self.layers
        return self.output or not tensor.name.startswith("output")


def kept(layers: int, spec: WorkerSpec, *, gpu: bool) -> Kept:
    """Return the part of a model of ``layers`` that stays, with a ``gpu`` or without one."""
    if not gpu or spec.n_gpu_layers == 0:
        return Kept(layers, output=True)
    if spec.n_gpu_layers < 0:
        return Kept(0, output=False)
    return Kept(max(0, layers + 1 - spec.n_gpu_layers), output=False)
