"""The network: a llama in plain torch, laid out exactly as llama.cpp computes it.

Shapes use B (rows), T (positions), D (width), H (heads), K (head width = D / H).
Rotary pairs are interleaved (2i, 2i+1), which is what GGUF's `llama` architecture expects, so no
permutation is needed at export. The output matrix is the embedding matrix (tied).
"""

# mypy: disallow-subclassing-any=False
from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as ops
from torch import Tensor, nn


@dataclass(frozen=True)
class TransformerShape:
    """Everything that fixes the tensors; row widths are multiples of 32 so that Q8_0 fits."""

    vocab: int = 2048
    width: int = 192
    layers: int = 6
    heads: int = 6
    hidden: int = 512
    context: int = 2048
    rope_base: float = 10000.0
    norm_eps: float = 1e-5

    def as_dict(self) -> dict[str, float]:
        """Plain values for training.json and for checkpoints."""
        return dict(asdict(self))


class Norm(nn.Module):
    """Root mean square normalisation with a learned gain."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return ops.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rotary_table(shape: TransformerShape) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each (context, K/2)."""
    head = shape.width // shape.heads
    inverse = shape.rope_base ** (-torch.arange(0, head, 2, dtype=torch.float64) / head)
    angle = torch.outer(torch.arange(shape.context, dtype=torch.float64), inverse)
    return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (2i, 2i+1) of (B, T, H, K) by their position's angle."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = cos[:, None, :], sin[:, None, :]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Block(nn.Module):
    """Attention and a gated feed-forward, each behind its norm."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        width, hidden = shape.width, shape.hidden
        self.heads = shape.heads
        self.attn_norm = Norm(width, shape.norm_eps)
        self.attn_q = nn.Linear(width, width, bias=False)
        self.attn_k = nn.Linear(width, width, bias=False)
        self.attn_v = nn.Linear(width, width, bias=False)
        self.attn_output = nn.Linear(width, width, bias=False)
        self.ffn_norm = Norm(width, shape.norm_eps)
        self.ffn_gate = nn.Linear(width, hidden, bias=False)
        self.ffn_up = nn.Linear(width, hidden, bias=False)
        self.ffn_down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        rows, length, width = x.shape
        y = self.attn_norm(x)
        split = (rows, length, self.heads, width // self.heads)
        q = rotate(self.attn_q(y).view(split), cos, sin).transpose(1, 2)
        k = rotate(self.attn_k(y).view(split), cos, sin).transpose(1, 2)
        v = self.attn_v(y).view(split).transpose(1, 2)
        mixed = ops.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_output(mixed.transpose(1, 2).reshape(rows, length, width))
        y = self.ffn_norm(x)
        hidden: Tensor = self.ffn_down(ops.silu(self.ffn_gate(y)) * self.ffn_up(y))
        return x + hidden


class Tiny(nn.Module):
    """Token ids to final hidden states; `logits` applies the tied output matrix."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocab, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape.width, shape.norm_eps)
        cos, sin = rotary_table(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.reset()

    def reset(self) -> None:
        """Small normal weights; the matrices that write to the residual stream start at zero."""
        for name, weight in self.named_parameters():
            if name.endswith(("attn_output.weight", "ffn_down.weight")):
                nn.init.zeros_(weight)
            elif weight.ndim == 2:
                nn.init.normal_(weight, std=0.02 if "embd" in name else weight.shape[1] ** -0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) token ids -> (B, T, D) normalised hidden states."""
        cos, sin = self.get_buffer("cos")[: ids.shape[1]], self.get_buffer("sin")[: ids.shape[1]]
        x = self.token_embd(ids)
        for block in self.blk:
            x = block(x, cos, sin)
        out: Tensor = self.output_norm(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., V)."""
        return ops.linear(hidden, self.token_embd.weight)
