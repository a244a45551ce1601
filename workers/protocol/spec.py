"""The specification of a worker, given before it starts; a part of :mod:`workers.protocol`."""

from typing import Literal

import msgspec

from workers.protocol.adapters import AdapterFile
from workers.protocol.media import MediaBounds

Value = bool | int | float | str
"""Of a key in a model's file; its type is the type there."""


class Patience(msgspec.Struct, frozen=True):
    """The longest gap wanted between two tokens of streams from a base priority on."""

    priority: float
    target_ms: float | None
    """None: chosen by measuring."""
    rest_ms: float = 0.0
    """The longest time for which they sit steps out, so that all prompts are computed first."""


class WorkerSpec(msgspec.Struct, frozen=True):
    """Everything a worker needs to know before it can load its model."""

    model_path: str
    slots: int
    """Sequences that may generate at once."""
    threads: int
    n_ctx: int | None
    """KV cells of this worker; None: slots x min(model context, 4096)."""
    batch: int
    """Token budget of one decode step."""
    type_k: str
    type_v: str
    flash_attn: str
    repack: bool
    n_gpu_layers: int
    log_level: str
    heartbeat_s: float
    """Seconds between two signs of life."""
    patience: tuple[Patience, ...] = (Patience(0.0, None),)
    """By rising priority; the first also holds for what is below it."""
    speculative: bool = False
    """True: streams verify drafts of what they may say next, where that pays."""
    log_format: Literal["console", "json"] = "console"
    cache_bytes: int = 0
    """Host memory for prefixes."""
    disk_bytes: int = 0
    """Room for prefixes in ``disk_folder``."""
    disk_folder: str = ""
    """For one model, one version and one way to compute it; "": none."""
    disk_secret: str = ""
    """The file whose contents authenticate those in ``disk_folder``."""
    kv_unified: Literal["auto", "on", "off"] = "auto"
    """on: all sequences take from the same cells; off: each has cells of its own."""
    rope_freq_base: float = 0.0
    """0: what the model says; so with the scale."""
    rope_freq_scale: float = 0.0
    rope_scaling: str = "auto"
    """auto: what the model says; so with what is negative, or 0 tokens."""
    yarn_orig_ctx: int = 0
    yarn_ext_factor: float = -1.0
    yarn_attn_factor: float = -1.0
    yarn_beta_slow: float = -1.0
    yarn_beta_fast: float = -1.0
    chat_template: str | None = None
    """None: the model's own."""
    mmap: bool = True
    mlock: bool = False
    numa: str = "off"
    main_gpu: int = 0
    split_mode: str = "layer"
    tensor_split: tuple[float, ...] = ()
    """Proportions of the GPUs; none: by their memory."""
    kv_offload: bool = True
    override_kv: dict[str, Value] = {}
    """In place of what the model's file says."""
    tensor_buffers: tuple[tuple[str, str], ...] = ()
    """Regular expressions for names of tensors, and the names of the buffers that they go to."""
    name: str = "this model"
    """The name that clients know it by, for refusals."""
    files: tuple[str, ...] = ()
    """The paths by which the files of ``model_path`` are opened, in their order, if it is not one
    of them: descriptors that were open before another file took its name."""
    adapters: tuple[AdapterFile, ...] = ()
    """Adapters to load at the start."""
    mmproj: str | None = None
    """The file that makes pictures or sound into embeddings for the model; None: it takes none."""
    media: MediaBounds = MediaBounds()
    """The largest of them that are decoded."""
