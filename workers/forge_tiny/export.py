"""Weights and vocabulary to an F16 GGUF that llama.cpp loads as architecture `llama`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer

from .model import Tiny, TransformerShape
from .rendering import source
from .tokenizer import CONTROL, END_OF_TEXT, PRE_TOKENIZER, TURN_END, VISIBLE


def _metadata(writer: gguf.GGUFWriter, shape: TransformerShape) -> None:
    writer.add_name("forge-tiny")
    writer.add_author("the Forge project")
    writer.add_license("mit")
    writer.add_description("The embedded model of Forge, trained on text that Forge generates.")
    writer.add_size_label("3M")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_vocab_size(shape.vocab)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(shape.rope_base)


def _vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    vocab = tokenizer.get_vocab()
    tokens = sorted(vocab, key=vocab.__getitem__)
    kinds = dict.fromkeys(CONTROL, gguf.TokenType.CONTROL)
    kinds |= dict.fromkeys(VISIBLE, gguf.TokenType.USER_DEFINED)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types([kinds.get(token, gguf.TokenType.NORMAL) for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(vocab[END_OF_TEXT])
    writer.add_pad_token_id(vocab[END_OF_TEXT])
    writer.add_eos_token_id(vocab[TURN_END])
    writer.add_eot_token_id(vocab[TURN_END])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(source())


def _tensors(writer: gguf.GGUFWriter, model: Tiny) -> None:
    """Matrices as F16, gains as F32; names follow from the module names."""
    for name, weight in model.state_dict().items():
        kind = torch.float16 if weight.ndim == 2 else torch.float32
        data = weight.detach().to("cpu", kind).numpy()
        if not np.isfinite(data).all():
            raise ValueError(f"{name} does not fit into {data.dtype}")
        writer.add_tensor(name, data)


def export(model: Tiny, tokenizer: Tokenizer, path: Path) -> None:
    """Write the GGUF; readers of `path` see the old file or the new one, never a part."""
    partial = path.with_name(path.name + ".part")
    writer = gguf.GGUFWriter(partial, "llama")
    _metadata(writer, model.shape)
    _vocabulary(writer, tokenizer)
    _tensors(writer, model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, path)
