"""A BERT-like encoder with random weights, written as GGUF: it embeds or ranks, and can't generate.

Small enough that a test makes one in a moment; its vectors mean nothing, but every part of a real
encoder is there: WordPiece, segment and position embeddings, attention to both sides.
"""

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter, PoolingType, TokenType

WIDTH, LAYERS, HEADS, FEED, CONTEXT = 32, 2, 4, 64, 64
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def encoder(
    path: Path, pooling: PoolingType, *, labels: Sequence[str] = (), add_eos: bool = False
) -> None:
    """Write one with ``pooling`` in its metadata; inputs of up to CONTEXT tokens.

    One that ranks has a head for one class, or for each of ``labels``. ``add_eos``: the vocabulary
    asks for a token at the end.
    """
    writer = GGUFWriter(path, "bert")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_feed_forward_length(FEED)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(pooling)
    n_vocab = _add_vocabulary(writer)
    if add_eos:
        writer.add_add_eos_token(True)
    if labels:
        writer.add_array("bert.classifier.output_labels", labels)
    shapes = _shapes(n_vocab)
    if pooling is PoolingType.RANK:
        shapes |= _head(len(labels) or 1)
    for name, shape in shapes.items():
        writer.add_tensor(name, _weights(name, shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: GGUFWriter) -> int:
    """Letters and digits, at the start of a word and inside; the number of tokens."""
    letters = string.ascii_lowercase + string.digits + string.punctuation
    tokens = [*SPECIAL, *(f"\u2581{letter}" for letter in letters), *letters]
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    control = [TokenType.CONTROL] * len(SPECIAL)
    writer.add_token_types([*control, *[TokenType.NORMAL] * (len(tokens) - len(SPECIAL))])
    writer.add_token_type_count(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_mask_token_id(1)
    writer.add_bos_token_id(2)  # what WordPiece calls CLS
    writer.add_sep_token_id(3)
    return len(tokens)


def _shapes(n_vocab: int) -> dict[str, tuple[int, ...]]:
    norms: dict[str, tuple[int, ...]] = {"weight": (WIDTH,), "bias": (WIDTH,)}
    square: dict[str, tuple[int, ...]] = {"weight": (WIDTH, WIDTH), "bias": (WIDTH,)}
    layer: dict[str, dict[str, tuple[int, ...]]] = {
        "attn_q": square,
        "attn_k": square,
        "attn_v": square,
        "attn_output": square,
        "attn_output_norm": norms,
        "ffn_up": {"weight": (FEED, WIDTH), "bias": (FEED,)},
        "ffn_down": {"weight": (WIDTH, FEED), "bias": (WIDTH,)},
        "layer_output_norm": norms,
    }
    shapes = {
        "token_embd.weight": (n_vocab, WIDTH),
        "token_types.weight": (2, WIDTH),
        "position_embd.weight": (CONTEXT, WIDTH),
        **{f"token_embd_norm.{part}": shape for part, shape in norms.items()},
    }
    for index in range(LAYERS):
        for name, parts in layer.items():
            for part, shape in parts.items():
                shapes[f"blk.{index}.{name}.{part}"] = shape
    return shapes


def _head(classes: int) -> dict[str, tuple[int, ...]]:
    return {
        "cls.weight": (WIDTH, WIDTH),
        "cls.bias": (WIDTH,),
        "cls.output.weight": (classes, WIDTH),
        "cls.output.bias": (classes,),
    }


def _weights(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The same for the same name."""
    values = np.random.default_rng(list(name.encode())).standard_normal(shape, np.float32)
    scaled = 1 + values / 10 if name.endswith("norm.weight") else values / 2
    return scaled.astype(np.float32)
