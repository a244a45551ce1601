"""An F32 copy of a GGUF, for tests that compare texts exactly.

Results in F16 depend on the shape of the batch by up to 6e-3 in a logit, which flips an argmax now
and then. With F32 weights, an F32 KV cache and flash attention off they agree to 2e-6, so two ways
of computing one text must give the same text.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter

_ARCHITECTURE = "general.architecture"
_FILE_TYPE = "general.file_type"
_ALL_F32 = 0
"""llama.cpp's LLAMA_FTYPE_ALL_F32."""
_TEMPLATE = "tokenizer.chat_template"
_TOKENS = "tokenizer.ggml.tokens"
_ADD_BOS = "tokenizer.ggml.add_bos_token"


def f32_copy(
    source: Path,
    target: Path,
    template: str | None = None,
    *,
    for_tools: str | None = None,
    add_bos: bool = False,
    token_ids: Mapping[str, int] | None = None,
    renamed: Mapping[str, str] | None = None,
    other: bool = False,
) -> None:
    """Write ``source`` to ``target`` with its F16 tensors as F32 and all its metadata.

    ``template`` takes the place of its chat template, if given, and "" is as good as none;
    ``for_tools`` is a second one, for requests with tools; with
    ``add_bos`` its tokeniser puts BOS before every text. ``token_ids`` are more of its tokens that
    have a meaning, by the names that tokenizer.ggml has for them. ``renamed`` gives tokens another
    text. ``other``: its layers have other weights of the same shapes.
    """
    reader = GGUFReader(source)
    architecture = reader.fields[_ARCHITECTURE].contents()
    writer = GGUFWriter(target, architecture)  # writes general.architecture itself
    for key, field in reader.fields.items():
        if key == _ARCHITECTURE or key.startswith("GGUF."):
            continue
        changed = {_FILE_TYPE: _ALL_F32} | ({} if template is None else {_TEMPLATE: template})
        changed |= {_ADD_BOS: True} if add_bos else {}
        value = changed.get(key, field.contents())
        if key == _TOKENS:
            value = [(renamed or {}).get(token, token) for token in value]
        kind = field.types[0]
        writer.add_key_value(
            key, value, kind, field.types[-1] if kind is GGUFValueType.ARRAY else None
        )
    if for_tools is not None:
        writer.add_string(f"{_TEMPLATE}.tool_use", for_tools)
    for name, token in (token_ids or {}).items():
        writer.add_uint32(f"tokenizer.ggml.{name}", token)
    for tensor in reader.tensors:
        if tensor.tensor_type is GGMLQuantizationType.F16:
            data = tensor.data.astype(np.float32)
            if other and tensor.name.startswith("blk."):
                data *= 1 + 0.3 * np.cos(np.arange(data.size, dtype=np.float32)).reshape(data.shape)
            writer.add_tensor(tensor.name, data)
        else:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
