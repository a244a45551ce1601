"""Models of other architectures with random weights, for what their memory is made of.

Their vocabulary is another model's, and what they say means nothing.
"""

from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter

WIDTH, FEED, HEADS, HEAD, CONTEXT = 64, 256, 2, 32, 2048
INNER, STATE, RANK, CONV = 128, 16, 4, 4
Shapes = dict[str, tuple[int, ...]]


def sliding(source: Path, target: Path) -> None:
    """A Gemma 3 of six layers, five of which see a window of 128 tokens."""
    writer = _begin(target, "gemma3", 6)
    writer.add_head_count_kv(1)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_sliding_window(128)
    layers = {at: _gemma_layer() for at in range(6)}
    _finish(writer, source, layers)


def hybrid(source: Path, target: Path) -> None:
    """A Jamba of four layers: the third attends, the others have states."""
    writer = _begin(target, "jamba", 4)
    writer.add_head_count_kv([0, 0, 2, 0])
    writer.add_ssm_conv_kernel(CONV)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)
    head = WIDTH // HEADS
    attention: Shapes = {
        "attn_q.weight": (WIDTH, WIDTH),
        "attn_k.weight": (2 * head, WIDTH),
        "attn_v.weight": (2 * head, WIDTH),
        "attn_output.weight": (WIDTH, WIDTH),
    }
    layers = {at: (attention if at == 2 else _mamba_layer()) | _feed() for at in range(4)}
    _finish(writer, source, layers)


def _begin(target: Path, architecture: str, layers: int) -> GGUFWriter:
    writer = GGUFWriter(target, architecture)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    return writer


def _feed() -> Shapes:
    return {
        "attn_norm.weight": (WIDTH,),
        "ffn_norm.weight": (WIDTH,),
        "ffn_gate.weight": (FEED, WIDTH),
        "ffn_up.weight": (FEED, WIDTH),
        "ffn_down.weight": (WIDTH, FEED),
    }


def _gemma_layer() -> Shapes:
    return _feed() | {
        "attn_q.weight": (HEADS * HEAD, WIDTH),
        "attn_k.weight": (HEAD, WIDTH),
        "attn_v.weight": (HEAD, WIDTH),
        "attn_output.weight": (WIDTH, HEADS * HEAD),
        "attn_q_norm.weight": (HEAD,),
        "attn_k_norm.weight": (HEAD,),
        "post_attention_norm.weight": (WIDTH,),
        "post_ffw_norm.weight": (WIDTH,),
    }


def _mamba_layer() -> Shapes:
    return {
        "ssm_in.weight": (2 * INNER, WIDTH),
        "ssm_conv1d.weight": (INNER, CONV),
        "ssm_conv1d.bias": (INNER,),
        "ssm_x.weight": (RANK + 2 * STATE, INNER),
        "ssm_dt_norm.weight": (RANK,),
        "ssm_dt.weight": (INNER, RANK),
        "ssm_dt.bias": (INNER,),
        "ssm_b_norm.weight": (STATE,),
        "ssm_c_norm.weight": (STATE,),
        "ssm_a": (INNER, STATE),
        "ssm_d": (INNER,),
        "ssm_out.weight": (WIDTH, INNER),
    }


def _finish(writer: GGUFWriter, source: Path, layers: dict[int, Shapes]) -> None:
    """Write the vocabulary of ``source`` and random weights."""
    n_vocab = 0
    for key, field in GGUFReader(source).fields.items():
        if key.startswith("tokenizer."):
            value, kind = field.contents(), field.types[0]
            element = field.types[-1] if kind is GGUFValueType.ARRAY else None
            writer.add_key_value(key, value, kind, element)
            n_vocab = len(value) if key == "tokenizer.ggml.tokens" else n_vocab
    shapes: Shapes = {"token_embd.weight": (n_vocab, WIDTH), "output_norm.weight": (WIDTH,)}
    for at, layer in layers.items():
        shapes |= {f"blk.{at}.{name}": shape for name, shape in layer.items()}
    random = np.random.default_rng(1)
    for name, shape in shapes.items():
        values = random.standard_normal(shape, np.float32) / np.sqrt(shape[-1])
        scaled = -np.exp(values) if name.endswith("ssm_a") else values
        writer.add_tensor(name, scaled.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
