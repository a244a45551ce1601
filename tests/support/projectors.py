"""Encoders of pictures and sound (mmproj) with random weights, written as GGUF in a moment.

They go with the models of :mod:`tests.support.architectures`. What they see means nothing; the
chunks, the positions and the computation are llama.cpp's for those kinds of projector.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGUFWriter

from tests.support.architectures import WIDTH, write

EYE, FEED, HEADS, PATCH = 32, 64, 2, 8
SIDE = 64
"""Pixels of a tile's side: 8 x 8 patches, of which each four become a row."""
MELS, FRAMES, STACK = 80, 1500, 4

Shapes = dict[str, tuple[int, ...]]


def _layer(of: str, *, keys: bool = True) -> Shapes:
    """Return the tensors of an encoder's only layer; ``of``: "v" for vision, "a" for audio."""
    at = f"{of}.blk.0"
    square = {f"{at}.{name}.weight": (EYE, EYE) for name in ("attn_q", "attn_k", "attn_v")}
    biased = ("attn_q", "attn_k", "attn_v") if keys else ("attn_q", "attn_v")
    norms = {
        f"{at}.{name}.{kind}": (EYE,) for name in ("ln1", "ln2") for kind in ("weight", "bias")
    }
    return {
        **square,
        **{f"{at}.{name}.bias": (EYE,) for name in biased},
        f"{at}.attn_out.weight": (EYE, EYE),
        f"{at}.attn_out.bias": (EYE,),
        **norms,
        f"{at}.ffn_up.weight": (FEED, EYE),
        f"{at}.ffn_up.bias": (FEED,),
        f"{at}.ffn_down.weight": (EYE, FEED),
        f"{at}.ffn_down.bias": (EYE,),
    }


AROUND: Shapes = {"v.post_ln.weight": (EYE,), "v.post_ln.bias": (EYE,)}
PATCHES: Shapes = {
    "v.patch_embd.weight": (EYE, 3, PATCH, PATCH),
    "v.patch_embd.bias": (EYE,),
    "v.position_embd.weight": ((SIDE // PATCH) ** 2, EYE),
}


@dataclass(frozen=True)
class Projector:
    """A kind of projector, and the text model that it is made for."""

    kind: str
    """llama.cpp's name."""
    architecture: str
    shapes: Shapes
    metadata: dict[str, int]
    control: tuple[str, ...]
    """Control tokens that libmtmd puts around media."""
    hears: bool = False


PROJECTORS = {
    "idefics3": Projector(
        "idefics3",
        "llama",
        {**PATCHES, **_layer("v"), **AROUND, "mm.model.fc.weight": (WIDTH, 4 * EYE)},
        {"vision.projector.scale_factor": 2, "vision.preproc_image_size": 2 * SIDE},
        (
            "ĊĊ",
            "<fake_token_around_image>",
            "<global-img>",
            *(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)),
        ),
    ),
    "qwen2vl": Projector(
        "qwen2vl_merger",
        "qwen2vl",
        {
            "v.patch_embd.weight": (EYE, 3, PATCH, PATCH),
            "v.patch_embd.weight.1": (EYE, 3, PATCH, PATCH),
            **_layer("v"),
            **AROUND,
            "mm.0.weight": (4 * EYE, 4 * EYE),
            "mm.0.bias": (4 * EYE,),
            "mm.2.weight": (WIDTH, 4 * EYE),
            "mm.2.bias": (WIDTH,),
        },
        {},
        ("<|vision_start|>", "<|vision_end|>"),
    ),
    "gemma3": Projector(
        "gemma3",
        "gemma3",
        {
            **PATCHES,
            **_layer("v"),
            **AROUND,
            "mm.input_projection.weight": (EYE, WIDTH),
            "mm.soft_emb_norm.weight": (EYE,),
        },
        {"vision.projector.scale_factor": 2},
        ("<start_of_image>", "<end_of_image>"),
    ),
    "ultravox": Projector(
        "ultravox",
        "llama",
        {
            "a.position_embd.weight": (FRAMES, EYE),
            "a.conv1d.1.weight": (EYE, MELS, 3),
            "a.conv1d.1.bias": (EYE, 1),
            "a.conv1d.2.weight": (EYE, EYE, 3),
            "a.conv1d.2.bias": (EYE, 1),
            **_layer("a", keys=False),
            "a.post_ln.weight": (EYE,),
            "a.post_ln.bias": (EYE,),
            "mm.a.norm_pre.weight": (STACK * EYE,),
            "mm.a.mlp.1.weight": (2 * WIDTH, STACK * EYE),
            "mm.a.norm_mid.weight": (WIDTH,),
            "mm.a.mlp.2.weight": (WIDTH, WIDTH),
        },
        {"audio.num_mel_bins": MELS, "audio.projector.stack_factor": STACK},
        (),
        hears=True,
    ),
}
"""By the names that tests have for them."""


def write_pair(
    name: str, source: Path, folder: Path, *, template: str | None = None
) -> tuple[Path, Path]:
    """Write the text model and the projector; ``source`` and ``template``: as of ``write``."""
    made = PROJECTORS[name]
    model, mmproj = folder / f"{name}.gguf", folder / f"mmproj-{name}.gguf"
    write(made.architecture, source, model, control=made.control, template=template)
    _write_projector(made, mmproj)
    return model, mmproj


def _write_projector(made: Projector, target: Path) -> None:
    writer = GGUFWriter(target, "clip")
    sense = "audio" if made.hears else "vision"
    writer.add_bool(f"clip.has_{sense}_encoder", True)
    writer.add_string("clip.projector_type", made.kind)
    writer.add_bool("clip.use_gelu", True)
    sizes = {
        f"{sense}.embedding_length": EYE,
        f"{sense}.feed_forward_length": FEED,
        f"{sense}.block_count": 1,
        f"{sense}.projection_dim": WIDTH,
        f"{sense}.attention.head_count": HEADS,
        **made.metadata,
    }
    if not made.hears:
        sizes |= {"vision.image_size": SIDE, "vision.patch_size": PATCH}
        writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
        writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    for key, value in sizes.items():
        writer.add_uint32(f"clip.{key}", value)
    writer.add_float32(f"clip.{sense}.attention.layer_norm_epsilon", 1e-6)
    random = np.random.default_rng(2)
    for tensor, shape in made.shapes.items():
        values = random.standard_normal(shape, np.float32)
        if "norm" in tensor or ".ln" in tensor or "_ln" in tensor:
            scaled = values / 10 + tensor.endswith("weight")
        else:
            scaled = values / np.sqrt(np.prod(shape[1:]))
        kind = np.float16 if "conv1d" in tensor and tensor.endswith("weight") else np.float32
        writer.add_tensor(tensor, scaled.astype(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
