"""A recurrent model (Mamba) with random weights, written as GGUF, with another model's vocabulary.

What it says means nothing, but its memory is the real thing: one state for a sequence, which can
neither be cut nor shared.
"""

from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter

WIDTH, LAYERS, INNER, STATE, RANK, CONV = 32, 2, 64, 8, 4, 4


def recurrent(source: Path, target: Path) -> None:
    """Write one with the vocabulary and the chat template of ``source``."""
    writer = GGUFWriter(target, "mamba")
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_ssm_conv_kernel(CONV)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)
    n_vocab = 0
    for key, field in GGUFReader(source).fields.items():
        if key.startswith("tokenizer."):
            value, kind = field.contents(), field.types[0]
            element = field.types[-1] if kind is GGUFValueType.ARRAY else None
            writer.add_key_value(key, value, kind, element)
            n_vocab = len(value) if key == "tokenizer.ggml.tokens" else n_vocab
    random = np.random.default_rng(1)
    for name, shape in _shapes(n_vocab).items():
        values = random.standard_normal(shape, np.float32)
        if name.endswith("norm.weight"):
            scaled = 1 + values / 10
        elif name.endswith("ssm_a"):
            scaled = -np.exp(values)
        else:
            scaled = values / np.sqrt(shape[-1])
        writer.add_tensor(name, scaled.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _shapes(n_vocab: int) -> dict[str, tuple[int, ...]]:
    layer: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (WIDTH,),
        "ssm_in.weight": (2 * INNER, WIDTH),
        "ssm_conv1d.weight": (INNER, CONV),
        "ssm_conv1d.bias": (INNER,),
        "ssm_x.weight": (RANK + 2 * STATE, INNER),
        "ssm_dt.weight": (INNER, RANK),
        "ssm_dt.bias": (INNER,),
        "ssm_a": (INNER, STATE),
        "ssm_d": (INNER,),
        "ssm_out.weight": (WIDTH, INNER),
    }
    layers = {f"blk.{i}.{name}": shape for i in range(LAYERS) for name, shape in layer.items()}
    return {
        "token_embd.weight": (n_vocab, WIDTH),
        "output_norm.weight": (WIDTH,),
        "output.weight": (n_vocab, WIDTH),
        **layers,
    }
