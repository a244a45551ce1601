"""Vocabularies of each kind that llama.cpp knows, written as GGUF files without weights.

Few tokens, but all that makes the kinds differ: spaces before words, pieces inside of words,
merges, scores, bytes; and the special tokens that a test asks for.
"""

import string
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import llama_cpp
from gguf import GGUFReader, GGUFWriter, TokenType

from gateway.config.config import EMBEDDED_MODEL
from workers.llama import initialise

Token = tuple[str, TokenType, float]

LETTERS = string.ascii_letters + string.digits + string.punctuation
WORDS = ("ab", "abc", "he", "hello", "user", "||", "th")
BYTES: list[Token] = [(f"<0x{byte:02X}>", TokenType.BYTE, 0) for byte in range(256)]


def _words(space: str) -> list[Token]:
    texts = [*LETTERS, *"\n\u4e2d", space, *WORDS, *(space + word for word in (*WORDS, *LETTERS))]
    return [(text, TokenType.NORMAL, -float(at + 1)) for at, text in enumerate(texts)]


def _control(*marks: str) -> list[Token]:
    return [(mark, TokenType.CONTROL, 0) for mark in marks]


def _byte_pairs() -> list[Token]:
    fields = GGUFReader(EMBEDDED_MODEL).fields
    texts = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    return [(text, TokenType(type_), 0) for text, type_ in zip(texts, types, strict=True)]


def _rwkv() -> list[Token]:
    texts = [*(f"\\x{byte:02x}" for byte in range(256)), *WORDS, " hello", "\\n\\n"]
    return [*_control("<|begin|>"), *((text, TokenType.NORMAL, 0) for text in texts)]


UNKNOWN: Token = ("<unk>", TokenType.UNKNOWN, 0)
KINDS: dict[str, list[Token]] = {
    "llama": [UNKNOWN, *_control("<s>", "</s>"), *BYTES, *_words("\u2581")],
    "gpt2": _byte_pairs(),
    "bert": [
        *_control("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        *_words("\u2581"),
    ],
    "t5": [*_control("<pad>", "</s>"), UNKNOWN, *_words("\u2581")],
    "rwkv": _rwkv(),
    "plamo2": [UNKNOWN, *_control("<bos>", "<eos>", "<pad>"), *BYTES, *_words(" ")],
}
"""By the name in ``tokenizer.ggml.model``."""
IDS = {"bert": {"padding": 0, "unknown": 1, "bos": 2, "seperator": 3, "mask": 4}}


def write(
    path: Path,
    kind: str,
    more: Sequence[tuple[str, TokenType]] = (),
    name: str = "x",
    **flags: bool,
) -> None:
    """Write one of KINDS with ``more`` tokens; ``flags`` are such as ``add_space_prefix``.

    llama.cpp has habits for some names of models.
    """
    tokens = list(KINDS[kind])
    known = {text for text, _, _ in tokens}
    tokens += [(text, type_, 0) for text, type_ in dict(more).items() if text not in known]
    writer = GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_tokenizer_model(kind)
    writer.add_token_list([text for text, _, _ in tokens])
    writer.add_token_types([type_ for _, type_, _ in tokens])
    writer.add_token_scores([float(score) for _, _, score in tokens])
    if kind == "gpt2":
        writer.add_tokenizer_pre("smollm")
        writer.add_token_merges(
            GGUFReader(EMBEDDED_MODEL).fields["tokenizer.ggml.merges"].contents()
        )
    for key, id_ in IDS.get(kind, {}).items():
        writer.add_uint32(f"tokenizer.ggml.{key}_token_id", id_)
    for key, value in flags.items():
        writer.add_bool(f"tokenizer.ggml.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@contextmanager
def opened(path: Path) -> Iterator[llama_cpp.llama_vocab_p]:
    """llama.cpp's vocabulary of a file, for the time of a test."""
    initialise()
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(bytes(path), params)
    assert model is not None
    try:
        yield llama_cpp.llama_model_get_vocab(model)
    finally:
        llama_cpp.llama_model_free(model)
