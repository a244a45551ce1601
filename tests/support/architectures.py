"""Models of well-known architectures with random weights, written as GGUF in a moment.

A table of what their layers are made of. Their vocabulary and chat template are another model's,
and what they say means nothing; the memory and the computation are the real thing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter, PoolingType, TokenType

WIDTH, FEED, HEADS, HEAD, CONTEXT = 64, 256, 2, 32, 2048
KV = HEAD
"""One head of keys and values for all heads of queries."""
INNER, STATE, RANK, CONV = 128, 16, 4, 4
EXPERTS, EXPERT_FEED = 4, 64
WINDOW = 128
"""Tokens that layers with a sliding window see."""
PROMPT, ANSWER = [*range(500, 520 + WINDOW)], 600
"""A prompt, and as many tokens of its greedy answer as tests compare: none of any architecture is a
near tie, which the shape of steps would decide (tests/workers/llama/test_step_shapes.py)."""

Shapes = dict[str, tuple[int, ...]]
Metadata = dict[str, int | float | list[int]]

NORM: Shapes = {"attn_norm.weight": (WIDTH,)}

ATTENTION: Shapes = {
    "attn_q.weight": (WIDTH, WIDTH),
    "attn_k.weight": (KV, WIDTH),
    "attn_v.weight": (KV, WIDTH),
    "attn_output.weight": (WIDTH, WIDTH),
}
BIASES: Shapes = {"attn_q.bias": (WIDTH,), "attn_k.bias": (KV,), "attn_v.bias": (KV,)}
HEAD_NORMS: Shapes = {"attn_q_norm.weight": (HEAD,), "attn_k_norm.weight": (HEAD,)}
FFN: Shapes = {
    "ffn_norm.weight": (WIDTH,),
    "ffn_gate.weight": (FEED, WIDTH),
    "ffn_up.weight": (FEED, WIDTH),
    "ffn_down.weight": (WIDTH, FEED),
}
MIXTURE: Shapes = {
    "ffn_norm.weight": (WIDTH,),
    "ffn_gate_inp.weight": (EXPERTS, WIDTH),
    "ffn_gate_exps.weight": (EXPERTS, EXPERT_FEED, WIDTH),
    "ffn_up_exps.weight": (EXPERTS, EXPERT_FEED, WIDTH),
    "ffn_down_exps.weight": (EXPERTS, WIDTH, EXPERT_FEED),
}
POST_NORMS: Shapes = {"post_attention_norm.weight": (WIDTH,), "post_ffw_norm.weight": (WIDTH,)}
MAMBA: Shapes = {
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
STATE_NORMS: Shapes = {
    "ssm_dt_norm.weight": (RANK,),
    "ssm_b_norm.weight": (STATE,),
    "ssm_c_norm.weight": (STATE,),
}
PHI3: Shapes = {
    **NORM,
    "attn_qkv.weight": (WIDTH + 2 * KV, WIDTH),
    "attn_output.weight": (WIDTH, WIDTH),
    "ffn_norm.weight": (WIDTH,),
    "ffn_up.weight": (2 * FEED, WIDTH),
    "ffn_down.weight": (WIDTH, FEED),
}
GQA: Metadata = {
    "attention.head_count_kv": 1,
    "attention.key_length": HEAD,
    "attention.value_length": HEAD,
    "rope.dimension_count": HEAD,
}
SSM: Metadata = {
    "ssm.conv_kernel": CONV,
    "ssm.inner_size": INNER,
    "ssm.state_size": STATE,
    "ssm.time_step_rank": RANK,
}
SLIDING: Metadata = {**GQA, "attention.sliding_window": WINDOW}


@dataclass(frozen=True)
class Architecture:
    """One of them: the tensors of each layer, and metadata without the architecture's name."""

    layers: list[Shapes]
    metadata: Metadata = field(default_factory=dict)
    output: bool = True
    """Has an output matrix; else the embeddings serve as one."""
    sliding: bool = False
    recurrent: bool = False
    gelu: bool = False
    """GELU is what its gates go through; else SiLU is."""


WIDE_OPEN = 10_000.0
"""The size of what goes into GELU, which llama.cpp looks up by the nearest F16 from -10 to 10: a
rounding in the seventh place becomes one in the fourth, and texts part at near ties. Gates so far
open or shut are not looked up, and models with GELU are as exact as the others."""

GEMMA2: Shapes = NORM | ATTENTION | FFN | POST_NORMS
ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture([NORM | ATTENTION | FFN] * 2, GQA),
    "qwen2": Architecture([NORM | ATTENTION | BIASES | FFN] * 2, GQA),
    "qwen2vl": Architecture(
        [NORM | ATTENTION | BIASES | FFN] * 2, {**GQA, "rope.dimension_sections": [4, 6, 6, 0]}
    ),
    "qwen3": Architecture([NORM | ATTENTION | HEAD_NORMS | FFN] * 2, GQA),
    "qwen3moe": Architecture(
        [NORM | ATTENTION | HEAD_NORMS | MIXTURE] * 2,
        {
            **GQA,
            "expert_count": EXPERTS,
            "expert_used_count": 2,
            "expert_feed_forward_length": EXPERT_FEED,
        },
    ),
    "gemma2": Architecture([GEMMA2] * 4, SLIDING, output=False, sliding=True, gelu=True),
    "gemma3": Architecture(
        [GEMMA2 | HEAD_NORMS] * 6, SLIDING, output=False, sliding=True, gelu=True
    ),
    "phi3": Architecture([PHI3] * 2, GQA),
    "mamba": Architecture(
        [NORM | MAMBA] * 2,
        {**SSM, "feed_forward_length": 0, "attention.head_count": 0},
        recurrent=True,
    ),
    "jamba": Architecture(
        [NORM | (ATTENTION if at == 2 else MAMBA | STATE_NORMS) | FFN for at in range(4)],
        {**SSM, "attention.head_count_kv": [0, 0, 1, 0]},
        recurrent=True,
    ),
}
"""By llama.cpp's names; those that generate (``tests.support.encoder`` writes one that embeds)."""


def write(
    name: str,
    source: Path,
    target: Path,
    *,
    rerank: str | None = None,
    gates: float = WIDE_OPEN,
    control: Sequence[str] = (),
    template: str | None = None,
) -> None:
    """One of ARCHITECTURES, with the vocabulary and the chat template of ``source``.

    ``rerank``: the template of a model that ranks, which weighs "yes" against "no". ``gates``: the
    size of what goes into GELU. ``control``: tokens that take the last places of the vocabulary,
    as control tokens if they look so. ``template``: its chat template, if not that of ``source``.
    """
    made = ARCHITECTURES[name]
    writer = GGUFWriter(target, name)
    common: Metadata = {
        "context_length": CONTEXT,
        "embedding_length": WIDTH,
        "block_count": len(made.layers),
        "feed_forward_length": FEED,
        "attention.head_count": HEADS,
        "attention.layer_norm_rms_epsilon": 1e-6,
    }
    for key, value in {**common, **made.metadata}.items():
        _add(writer, f"{name}.{key}", value)
    n_vocab = _copy_vocabulary(writer, source, control, template)
    shapes = {"token_embd.weight": (n_vocab, WIDTH), "output_norm.weight": (WIDTH,)}
    shapes |= {"output.weight": (n_vocab, WIDTH)} if made.output else {}
    for at, layer in enumerate(made.layers):
        shapes |= {f"blk.{at}.{tensor}": shape for tensor, shape in layer.items()}
    if rerank is not None:
        writer.add_string("tokenizer.chat_template.rerank", rerank)
        writer.add_uint32(f"{name}.pooling_type", PoolingType.RANK)
        writer.add_array(f"{name}.classifier.output_labels", ["yes", "no"])
        shapes["cls.output.weight"] = (2, WIDTH)
    random = np.random.default_rng(1)
    for tensor, shape in shapes.items():
        values = random.standard_normal(shape, np.float32)
        if tensor.endswith("norm.weight"):
            # What layers add outweighs the last token, or the model would only repeat that.
            scaled = (1 + values / 10) * (4 if ".post_" in tensor else 1)
        elif tensor.endswith("ssm_a"):
            scaled = -np.exp(values)
        elif made.gelu and tensor.endswith("ffn_gate.weight"):
            scaled = values * (gates / np.sqrt(shape[-1]))
        else:
            scaled = values / np.sqrt(shape[-1])
        writer.add_tensor(tensor, scaled.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: GGUFWriter, key: str, value: float | list[int]) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    else:
        writer.add_float32(key, value)


def _copy_vocabulary(
    writer: GGUFWriter, source: Path, control: Sequence[str], template: str | None
) -> int:
    """The number of tokens."""
    n_vocab = 0
    for key, entry in GGUFReader(source).fields.items():
        if key.startswith("tokenizer."):
            value, kind = entry.contents(), entry.types[0]
            if control and key == "tokenizer.ggml.tokens":
                value[-len(control) :] = control
            if control and key == "tokenizer.ggml.token_type":
                kinds = (TokenType.CONTROL if "<" in t else TokenType.NORMAL for t in control)
                value[-len(control) :] = kinds
            if template is not None and key == "tokenizer.chat_template":
                value = template
            element = entry.types[-1] if kind is GGUFValueType.ARRAY else None
            writer.add_key_value(key, value, kind, element)
            n_vocab = len(value) if key == "tokenizer.ggml.tokens" else n_vocab
    return n_vocab
