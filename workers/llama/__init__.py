"""llama.cpp, as little of it as the engine needs. Only this package imports llama_cpp.

The low-level API is used: the wheel's high-level class serves one sequence at a time. Every
object here owns C memory and frees it in ``close``; nothing of ctypes leaves this package.
"""

import workers.llama.barriers
import workers.llama.bindings  # noqa: F401 - second: it makes llama_cpp of what is used of it
from workers.llama.adapters import AdapterFailed, Adapters
from workers.llama.chain import Sampler
from workers.llama.context import (
    NO_CELLS,
    OK,
    Context,
    EmbeddingContext,
    EmbeddingShape,
    geometries,
)
from workers.llama.library import LoadFailed, initialise, readable
from workers.llama.model import Model
from workers.llama.quantize import Packing, ShrinkFailed, shrink
from workers.llama.rows_batch import RowsSlice
from workers.llama.sizes import Planner

__all__ = [
    "NO_CELLS",
    "OK",
    "AdapterFailed",
    "Adapters",
    "Context",
    "EmbeddingContext",
    "EmbeddingShape",
    "LoadFailed",
    "Model",
    "Packing",
    "Planner",
    "RowsSlice",
    "Sampler",
    "ShrinkFailed",
    "geometries",
    "initialise",
    "readable",
    "shrink",
]
