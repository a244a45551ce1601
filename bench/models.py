"""`python -m bench.models [--out DIR] [NAME ...]`: models for benchmarks.

Most are real shapes with random weights: what a step costs depends on the shape of a model and not
on what it has learned, so they need no download, and the same name gives the same file. What models
say matters to drafts, vocabularies and windows: for those there are trained ones, out of packages.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter, LlamaFileType, TokenType
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from .quantise import quantise
from .trained import TRAINED, NoModel, trained
from .vocabulary import CHAT, CONTROL, END, TURN_END, vocabulary

RARE = 1 / 64
"""Share of the others' length that the embedding of a token has that no answer should hold. The
embeddings are the output matrix too, so its logit is never the greatest."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A llama with tied embeddings; ``heads_kv`` are those of keys and values."""

    layers: int
    width: int
    heads: int
    heads_kv: int
    feed: int
    vocabulary: int
    context: int
    rope_base: float
    file_type: LlamaFileType

    @property
    def head(self) -> int:
        """The width of a head."""
        return self.width // self.heads

    def tensors(self) -> Iterable[tuple[str, tuple[int, ...]]]:
        """Names and shapes (rows, columns), in the file's order."""
        kv, width = self.heads_kv * self.head, self.width
        yield "token_embd.weight", (self.vocabulary, width)
        for layer in range(self.layers):
            at = f"blk.{layer}"
            yield f"{at}.attn_norm.weight", (width,)
            yield f"{at}.attn_q.weight", (width, width)
            yield f"{at}.attn_k.weight", (kv, width)
            yield f"{at}.attn_v.weight", (kv, width)
            yield f"{at}.attn_output.weight", (width, width)
            yield f"{at}.ffn_norm.weight", (width,)
            yield f"{at}.ffn_gate.weight", (self.feed, width)
            yield f"{at}.ffn_up.weight", (self.feed, width)
            yield f"{at}.ffn_down.weight", (width, self.feed)
        yield "output_norm.weight", (width,)


SHAPES = {
    # SmolLM2-135M's and Llama-3.2-1B's
    "135m-q8_0": Shape(30, 576, 9, 3, 1536, 49_152, 8_192, 1e5, LlamaFileType.MOSTLY_Q8_0),
    "1b-q4_k_m": Shape(16, 2048, 32, 8, 8192, 128_256, 131_072, 5e5, LlamaFileType.MOSTLY_Q4_K_M),
}


NAMES = (*SHAPES, *TRAINED)


def cache() -> Path:
    """The folder for what takes minutes to make, in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "forge" / "bench"


def model(name: str, folder: Path, bar: Progress) -> Path:
    """The file of one of NAMES, made if it is not there. Raises KeyError for others, NoModel."""
    path = folder / f"{name}.gguf"
    if name in TRAINED:
        task = bar.add_task(f"{name}: weights", total=None)
        return trained(
            TRAINED[name], path, lambda done, total: bar.update(task, completed=done, total=total)
        )
    shape = SHAPES[name]
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write(name, shape, path, bar)
    return path


def write(name: str, shape: Shape, path: Path, bar: Progress) -> None:
    """Make the file; who reads ``path`` sees a whole one or none. Raises RuntimeError."""
    full = path.with_name(f"{path.name}.{os.getpid()}.f16")
    part = full.with_suffix(".part")
    task = bar.add_task(f"{name}: weights", total=sum(1 for _ in shape.tensors()))
    try:
        _write_f16(name, shape, full, lambda: bar.advance(task))
        task = bar.add_task(f"{name}: quantising", total=None)
        quantise(
            full, part, shape.file_type,
            lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
        os.replace(part, path)
    finally:
        full.unlink(missing_ok=True)
        part.unlink(missing_ok=True)


def _write_f16(name: str, shape: Shape, path: Path, tick: Callable[[], None]) -> None:
    """Matrices as F16, one after the other so that only one is in memory; gains as F32."""
    writer = GGUFWriter(path, "llama")
    writer.add_name(f"random {name}")
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads_kv)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(shape.rope_base)
    rare = _add_vocabulary(writer, shape.vocabulary, name)
    for tensor, size in shape.tensors():
        kind = np.dtype(_kind(size))
        writer.add_tensor_info(tensor, size, kind, math.prod(size) * kind.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor, size in shape.tensors():
        values = _weights(f"{name} {tensor}", size, shape)
        if tensor == "token_embd.weight":
            values[rare] *= RARE
        writer.write_tensor_data(values)
        tick()
    writer.close()


def _add_vocabulary(writer: GGUFWriter, size: int, seed: str) -> list[int]:
    """The tokens that no answer should hold."""
    made = vocabulary(size, seed)
    plain = [TokenType.NORMAL] * (size - len(CONTROL))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(made.tokens)
    writer.add_token_types([*plain, *[TokenType.CONTROL] * len(CONTROL)])
    writer.add_token_merges(made.merges)
    writer.add_bos_token_id(made.tokens.index(END))
    writer.add_eos_token_id(made.tokens.index(TURN_END))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT)
    return made.rare


def _kind(size: tuple[int, ...]) -> type[np.float16 | np.float32]:
    return np.float16 if len(size) == 2 else np.float32


def _weights(seed: str, size: tuple[int, ...], shape: Shape) -> np.ndarray[Any, Any]:
    """The same for the same seed. Every layer adds as much as a trained one does at its start."""
    if len(size) == 1:
        return np.ones(size, np.float32)
    values = np.random.default_rng(list(seed.encode())).standard_normal(size, np.float32)
    adds_up = seed.endswith(("attn_output.weight", "ffn_down.weight"))
    values *= size[1] ** -0.5 / ((2 * shape.layers) ** 0.5 if adds_up else 1)
    return values.astype(np.float16)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.models", description=__doc__)
    parser.add_argument("--out", type=Path, default=cache(), help="folder (default: %(default)s)")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    args = parser.parse_args()
    if unknown := set(args.names) - set(NAMES):
        parser.error(f"no model is called {', '.join(sorted(unknown))}; there are {[*NAMES]}")
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        try:
            paths = [model(name, args.out, bar) for name in args.names or SHAPES]
        except NoModel as error:
            parser.exit(1, f"bench.models: {error}\n")
    for path in paths:
        console.print(f"{path}: {path.stat().st_size / 2**20:,.0f} MiB")


if __name__ == "__main__":
    main()
