"""The options about a model: which one, and how llama.cpp loads and computes it.

Those that llama-server has too mean the same here and have its names. Each can be said for one of
several models: see :mod:`gateway.fleet.tables`.
"""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

EMBEDDED_MODEL = Path(str(files("workers"))) / "forge_tiny" / "forge-tiny.gguf"

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1)]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]

AUTO_SLOTS = 8


class EngineOptions(BaseModel):
    """What can be told of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: Path = Field(
        EMBEDDED_MODEL,
        description="model to serve: a GGUF file, hf:ORG/REPO[:QUANT|:FILE] or an https address",
    )
    alias: str | None = Field(
        None, min_length=1, description="name of the model in the API; none: the file's name"
    )
    workers: Count | Auto = Field(
        "auto",
        description="worker processes; auto: what `forge tune` found best, else one for every four "
        "cores, at least two",
    )
    slots: Annotated[int, Field(ge=1, le=128)] | Auto = Field(
        "auto", description="sequences that generate at once, per worker; auto: 8"
    )
    threads: Count | Auto = Field(
        "auto", description="compute threads per worker; auto shares the cores among the workers"
    )
    ctx: Annotated[int, Field(ge=32)] | Auto = Field(
        "auto",
        description="tokens of KV cache per worker; one sequence may use "
        "min(model context, CTX); auto: slots x min(model context, 4096)",
    )
    cache_ram: Annotated[int, Field(ge=0, le=2**30)] | Auto = Field(
        "auto",
        description="MiB of memory, for all workers together, in which prefixes are saved that "
        "lose their KV cells; 0: none; auto: an eighth of the machine's, at most 8192",
    )
    batch: int = Field(
        512, ge=128, le=8192, description="most tokens computed in one step (decode and prefill)"
    )
    target_itl_ms: Annotated[float, Field(gt=0, le=60000, allow_inf_nan=False)] | Auto = Field(
        "auto",
        description="longest gap between two tokens of a stream while prompts are computed beside "
        "it, in milliseconds; auto: 50, or three steps without prompts if that is more",
    )
    cache_type_k: CacheType = Field("f16", description="type of the K cache")
    cache_type_v: CacheType = Field("f16", description="type of the V cache")
    flash_attn: Literal["auto", "on", "off"] = Field("auto", description="flash attention")
    repack: bool = Field(
        True, description="repack weights for this CPU: faster small batches, no shared mmap"
    )
    n_gpu_layers: int = Field(0, ge=-1, description="layers to offload to a GPU; -1 means all")
    rope_freq_base: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="base frequency of RoPE; 0: the model's"
    )
    rope_freq_scale: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="factor on RoPE's frequencies; 0: the model's"
    )
    chat_template: str | None = Field(
        None, min_length=1, description="chat template in Jinja; none: the model's"
    )
    chat_template_file: Path | None = Field(
        None, description="file of the chat template, in place of --chat-template"
    )

    @field_validator("chat_template_file")
    @classmethod
    def _template(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        """The file is read once more for each worker."""
        if path is None:
            return None
        if info.data.get("chat_template") is not None:
            raise ValueError("expected none beside --chat-template")
        try:
            source = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a NUL in the path
            reason = error.strerror if isinstance(error, OSError) else error
            raise ValueError(f"expected a file of text ({reason})") from error
        if not source.strip():
            raise ValueError("expected a file with a template in it")
        return path
