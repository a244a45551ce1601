"""The vocabulary: byte-level BPE learned from the corpus, in the form that llama.cpp rebuilds.

llama.cpp's pre-tokeniser `smollm` (digits one by one, then GPT-2's pattern) is written here as
`Digits` + `ByteLevel`. All 256 bytes are in the vocabulary, so every input has tokens.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from .corpus import stream
from .rendering import render

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
CONTROL = (END_OF_TEXT, TURN_START, TURN_END)
VISIBLE = ("<tool_call>", "</tool_call>")
PRE_TOKENIZER = "smollm"


def train(seed: int, vocab: int, conversations: int) -> Tokenizer:
    """Learn the merges from the first conversations of a stream of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(CONTROL + VISIBLE),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = (render(c) for c in islice(stream(f"{seed} tokenizer"), conversations))
    tokenizer.train_from_iterator(texts, trainer)
    # Learned as special to keep them whole; printed like any other text from here on.
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in VISIBLE])
    if tokenizer.get_vocab_size() != vocab:
        raise ValueError(f"the corpus yields only {tokenizer.get_vocab_size()} of {vocab} tokens")
    return tokenizer


def load(path: Path) -> Tokenizer:
    """Read what `Tokenizer.save` wrote."""
    return Tokenizer.from_file(str(path))
