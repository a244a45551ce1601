"""A frozen llama in torch, read from its GGUF, with LoRA matrices in its upper blocks.

Weights keep GGUF's own layout: rows of Q and K in the order in which llama.cpp turns them, so an
adapter that is trained beside them needs no permutation. Blocks below the first with matrices give
the same whatever is trained: what they compute of a text is computed once.

Shapes use T (tokens of all texts, one text behind the other), D (width), H (heads), G (heads of
keys and values), K (head width).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as ops
from gguf import GGUFReader, dequantize
from torch import Tensor

PROJECTIONS = (
    "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down",
)  # fmt: skip


class Texts(NamedTuple):
    """Texts in one row, each of which sees itself alone."""

    hidden: Tensor
    """(T, D): what goes into the first block with matrices."""
    owners: Tensor
    """(T,): the number of each token's text."""
    positions: Tensor
    """(T,): each token's place in its text."""
    targets: Tensor
    """(T,): the token that comes next; -100 where it is not learned."""


class Network:
    """The model, and the matrices that are trained."""

    def __init__(self, path: Path, upper: int, rank: int, seed: int) -> None:
        """``upper``: so many blocks get matrices."""
        reader = GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        self.architecture = str(fields["general.architecture"])
        assert self.architecture == "llama", "the forward pass is a llama's"
        self._fields: dict[str, Any] = fields
        self.blocks = int(self._of("block_count"))
        self.first = max(0, self.blocks - upper)
        self.rank, self.alpha = rank, 2.0 * rank
        self.weights: dict[str, Tensor] = {
            tensor.name: torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
            for tensor in reader.tensors
        }
        random = torch.Generator().manual_seed(seed)
        self.matrices: dict[str, tuple[Tensor, Tensor]] = {}
        for block in range(self.first, self.blocks):
            for name in PROJECTIONS:
                rows, columns = self.weights[f"blk.{block}.{name}.weight"].shape
                a = torch.randn(rank, columns, generator=random) / columns**0.5
                pair = a.requires_grad_(), torch.zeros(rows, rank).requires_grad_()
                self.matrices[f"blk.{block}.{name}.weight"] = pair

    def _of(self, name: str) -> Any:
        return self._fields[f"{self.architecture}.{name}"]

    def trained(self) -> list[Tensor]:
        """Return the parameters of the adapter."""
        return [matrix for pair in self.matrices.values() for matrix in pair]

    def texts(self, each: list[tuple[list[int], int]]) -> Texts:
        """Return texts of tokens; of each is learned what follows its first so many."""
        owners = torch.tensor([at for at, (ids, _) in enumerate(each) for _ in ids])
        positions = torch.tensor([at for ids, _ in each for at in range(len(ids))])
        targets = torch.tensor(
            [
                ids[at + 1] if prompt <= at + 1 < len(ids) else -100
                for ids, prompt in each
                for at in range(len(ids))
            ]
        )
        with torch.no_grad():
            tokens = torch.tensor([token for ids, _ in each for token in ids])
            hidden = self.weights["token_embd.weight"][tokens]
            hidden = self._through(hidden, owners, positions, range(self.first))
        return Texts(hidden, owners, positions, targets)

    def logits(self, texts: Texts, where: Tensor) -> Tensor:
        """Return the logits at the places that ``where`` (T,) marks."""
        blocks = range(self.first, self.blocks)
        hidden = self._through(texts.hidden, texts.owners, texts.positions, blocks)
        output = self.weights.get("output.weight", self.weights["token_embd.weight"])
        return self._normed(hidden[where], "output_norm") @ output.T

    def loss(self, texts: Texts) -> Tensor:
        """Return the mean loss of what is learned."""
        learned = texts.targets >= 0
        return ops.cross_entropy(self.logits(texts, learned), texts.targets[learned])

    def _through(self, hidden: Tensor, owners: Tensor, positions: Tensor, blocks: range) -> Tensor:
        """(T, D) -> (T, D)."""
        places = torch.arange(len(owners))
        sees = (owners[:, None] == owners) & (places[:, None] >= places)
        turn = self._angles(positions)
        for block in blocks:
            at = f"blk.{block}"
            hidden = hidden + self._attention(
                self._normed(hidden, f"{at}.attn_norm"), at, sees, turn
            )
            normed = self._normed(hidden, f"{at}.ffn_norm")
            gate = ops.silu(self._linear(normed, f"{at}.ffn_gate"))
            hidden = hidden + self._linear(
                gate * self._linear(normed, f"{at}.ffn_up"), f"{at}.ffn_down"
            )
        return hidden

    def _attention(self, x: Tensor, at: str, sees: Tensor, turn: Tensor) -> Tensor:
        heads, kv = int(self._of("attention.head_count")), int(self._of("attention.head_count_kv"))
        q = _rotated(self._linear(x, f"{at}.attn_q").unflatten(-1, (heads, -1)), turn)
        k = _rotated(self._linear(x, f"{at}.attn_k").unflatten(-1, (kv, -1)), turn)
        v = self._linear(x, f"{at}.attn_v").unflatten(-1, (kv, -1))
        k, v = (each.repeat_interleave(heads // kv, dim=1) for each in (k, v))
        q, k, v = (each.transpose(0, 1)[None] for each in (q, k, v))
        found = ops.scaled_dot_product_attention(q, k, v, attn_mask=sees)
        return self._linear(found[0].transpose(0, 1).flatten(1), f"{at}.attn_output")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        found = x @ self.weights[f"{name}.weight"].T
        if (pair := self.matrices.get(f"{name}.weight")) is not None:
            a, b = pair
            found = found + self.alpha / self.rank * (x @ a.T) @ b.T
        return found

    def _normed(self, x: Tensor, name: str) -> Tensor:
        epsilon = float(self._of("attention.layer_norm_rms_epsilon"))
        return ops.rms_norm(x, (x.shape[-1],), self.weights[f"{name}.weight"], epsilon)

    def _angles(self, positions: Tensor) -> Tensor:
        """(T,) -> (T, 1, K / 2), complex numbers of length 1."""
        head = int(self._of("embedding_length")) // int(self._of("attention.head_count"))
        base = float(self._fields.get(f"{self.architecture}.rope.freq_base", 10_000.0))
        inverse = base ** (-torch.arange(0, head, 2, dtype=torch.float64) / head)
        angle = torch.outer(positions.double(), inverse).float()
        return torch.polar(torch.ones_like(angle), angle)[:, None]


def _rotated(x: Tensor, turn: Tensor) -> Tensor:
    """(T, H, K): the pairs (2i, 2i + 1) turned, as llama.cpp turns a llama's."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turn).flatten(-2)
