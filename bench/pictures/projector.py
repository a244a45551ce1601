"""A projector of SmolVLM's shape with random weights, for a model without one.

What a picture costs depends on shapes and not on what was learned: SigLIP's base encoder with tiles
of 512 pixels, of which each becomes 64 rows (idefics3: blocks of 4 x 4 patches are one row).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGUFWriter


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """Sizes of a vision encoder and of what it makes for the text model."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    feed: int = 3072
    tile: int = 512
    """Pixels of a tile's side."""
    patch: int = 16
    block: int = 4
    """Patches of a block's side."""
    rows: int = 576
    """The width of the text model."""

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes, in the file's order."""
        wide = self.width
        yield "v.patch_embd.weight", (wide, 3, self.patch, self.patch)
        yield "v.patch_embd.bias", (wide,)
        yield "v.position_embd.weight", ((self.tile // self.patch) ** 2, wide)
        for layer in range(self.layers):
            at = f"v.blk.{layer}"
            for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
                yield f"{at}.{name}.weight", (wide, wide)
                yield f"{at}.{name}.bias", (wide,)
            for name in ("ln1", "ln2"):
                yield f"{at}.{name}.weight", (wide,)
                yield f"{at}.{name}.bias", (wide,)
            yield f"{at}.ffn_up.weight", (self.feed, wide)
            yield f"{at}.ffn_up.bias", (self.feed,)
            yield f"{at}.ffn_down.weight", (wide, self.feed)
            yield f"{at}.ffn_down.bias", (wide,)
        yield "v.post_ln.weight", (wide,)
        yield "v.post_ln.bias", (wide,)
        yield "mm.model.fc.weight", (self.rows, wide * self.block**2)

    def write(self, target: Path) -> Path:
        """Write the file; matrices are F16, as in the published ones."""
        writer = GGUFWriter(target, "clip")
        writer.add_bool("clip.has_vision_encoder", True)
        writer.add_bool("clip.use_gelu", True)
        writer.add_string("clip.projector_type", "idefics3")
        for key, value in {
            "image_size": self.tile,
            "patch_size": self.patch,
            "embedding_length": self.width,
            "feed_forward_length": self.feed,
            "block_count": self.layers,
            "attention.head_count": self.heads,
            "projection_dim": self.rows,
            "projector.scale_factor": self.block,
            "preproc_image_size": 4 * self.tile,
        }.items():
            writer.add_uint32(f"clip.vision.{key}", value)
        writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
        for key in ("image_mean", "image_std"):
            writer.add_array(f"clip.vision.{key}", [0.5, 0.5, 0.5])
        random = np.random.default_rng(1)
        for name, shape in self.tensors():
            values = random.standard_normal(shape, np.float32) / np.sqrt(np.prod(shape[1:]))
            matrix = len(shape) == 2 and "position" not in name  # positions are added
            writer.add_tensor(name, values.astype(np.float16 if matrix else np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return target
