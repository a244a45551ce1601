"""LoRA adapters with random weights, written as GGUF in a moment, and models they are merged into.

W + scale * alpha / rank * B A computed once and written as a model of its own is what an adapter
must say: in F32 the greedy texts are equal.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, dequantize
from numpy.typing import NDArray

from workers.protocol import AdapterFile

ATTENTION = ("attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight")
EVERYTHING = (*ATTENTION, "ffn_gate.weight", "ffn_up.weight", "ffn_down.weight")

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Lora:
    """An adapter: its matrices by the names of the model's tensors, in numpy's order of axes."""

    architecture: str
    matrices: dict[str, tuple[Array, Array]]
    alpha: float = 8.0
    metadata: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        """Write it as llama.cpp's convert_lora_to_gguf.py does."""
        writer = GGUFWriter(path, self.architecture)
        writer.add_string("general.type", "adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", self.alpha)
        for key, value in self.metadata.items():
            _add(writer, key, value)
        for name, (a, b) in self.matrices.items():
            writer.add_tensor(f"{name}.lora_a", a)
            writer.add_tensor(f"{name}.lora_b", b)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, list):
        writer.add_key_value(key, value, GGUFValueType.ARRAY, GGUFValueType.UINT32)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_float32(key, value)


def random_lora(
    model: Path,
    seed: int,
    *,
    rank: int = 4,
    size: float = 0.5,
    alpha: float = 8.0,
    tensors: Sequence[str] = EVERYTHING,
    metadata: Mapping[str, Any] | None = None,
) -> Lora:
    """Return an adapter for a model, of its tensors whose names end so.

    ``size`` is how much it changes: as large as that, beside what a random matrix of W's would.
    """
    reader, random = GGUFReader(model), np.random.default_rng(seed)
    matrices = dict[str, tuple[Array, Array]]()
    for tensor in reader.tensors:
        if not any(tensor.name.endswith(f".{each}") for each in tensors):
            continue
        columns, rows, *experts = map(int, tensor.shape)
        a = random.standard_normal((*reversed(experts), rank, columns), np.float32)
        b = random.standard_normal((*reversed(experts), rows, rank), np.float32)
        matrices[tensor.name] = a / np.float32(columns**0.5), b * np.float32(size / rank)
    assert matrices, "no tensor has such a name"
    architecture = str(reader.fields["general.architecture"].contents())
    return Lora(architecture, matrices, alpha, dict(metadata or {}))


def merged(model: Path, target: Path, adapters: Iterable[tuple[Lora, float]]) -> Path:
    """Write an F32 model with adapters in its weights, each with its scale."""
    reader, added = GGUFReader(model), list(adapters)
    architecture = str(reader.fields["general.architecture"].contents())
    writer = GGUFWriter(target, architecture)
    for key, value in reader.fields.items():
        if key != "general.architecture" and not key.startswith("GGUF."):
            kind = value.types[0]
            of = value.types[-1] if kind is GGUFValueType.ARRAY else None
            writer.add_key_value(key, value.contents(), kind, of)
    for tensor in reader.tensors:
        weights = dequantize(tensor.data, tensor.tensor_type)
        for lora, scale in added:
            if tensor.name in lora.matrices:
                a, b = lora.matrices[tensor.name]
                factor = np.float32(scale * (lora.alpha or a.shape[-2]) / a.shape[-2])
                weights = weights + factor * (b @ a)
        writer.add_tensor(
            tensor.name, weights.astype(np.float32), raw_dtype=GGMLQuantizationType.F32
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def adapter_file(path: Path, digest: str | None = None) -> AdapterFile:
    """Return an adapter as a gateway tells workers of it; its name serves as its digest."""
    found = path.stat()
    name = path.stem if digest is None else digest
    return AdapterFile(name, (str(path),), str(path), found.st_size, found.st_mtime_ns)
