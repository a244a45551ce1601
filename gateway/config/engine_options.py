"""The options about a model: which one, and how llama.cpp loads and computes it.

Those that llama-server has too mean the same here and have its names. Each can be said for one of
several models: see :mod:`gateway.config.model_tables`.
"""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from gateway.config import adapter_options, chat_templates, node_needs
from gateway.config.adapter_options import NamedAdapter, ScaledAdapter
from gateway.config.overrides import buffers, parse, proportions
from gateway.config.patience import classes

EMBEDDED_MODEL = Path(str(files("workers"))) / "forge_tiny" / "forge-tiny.gguf"

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1)]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]


Gap = Annotated[float, Field(gt=0, le=60000, allow_inf_nan=False)]
Gaps = Annotated[Gap | Auto | tuple[tuple[str, Gap], ...], BeforeValidator(classes)]


_BOOLEAN = TypeAdapter(bool)


def _switch(value: Any) -> Any:
    """A boolean, in all words for it, is a choice too; other values stay as they are."""
    if value == "auto":
        return value
    try:
        return "on" if _BOOLEAN.validate_python(value) else "off"
    except ValidationError:
        return value


Switch = Annotated[Literal["auto", "on", "off"], BeforeValidator(_switch)]


def _all_layers(value: Any) -> Any:
    """llama-server's word for -1."""
    return -1 if value == "all" else value


GpuLayers = Annotated[int, BeforeValidator(_all_layers)]
YarnFactor = Annotated[float, Field(ge=-1, le=1e6, allow_inf_nan=False)]


class EngineOptions(BaseModel):
    """The options that one model has."""

    # Its validator is made when there are options: other commands than forge serve only show them.
    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), defer_build=True
    )

    model: Path = Field(
        EMBEDDED_MODEL,
        description="model to serve: a GGUF file, hf:ORG/REPO[:QUANT|:FILE] or an https address",
    )
    mmproj: str = Field(
        "auto",
        min_length=1,
        max_length=4096,
        description="projector, with which the model takes pictures or sound: a GGUF file, a "
        "source as --model's, auto or none; auto: the one beside the model's file, or of the same "
        "hf: source",
    )
    image_min_tokens: int = Field(
        -1,
        ge=-1,
        le=65536,
        description="tokens that a picture takes at least, for models that have it larger or "
        "smaller; -1: as the projector says",
    )
    image_max_tokens: int = Field(
        -1, ge=-1, le=65536, description="tokens that a picture takes at most, likewise"
    )
    media_pixels: int = Field(
        32 * 1024 * 1024,
        ge=1,
        le=2**30,
        description="most pixels of a picture, width times height; larger ones are refused "
        "before they are decoded",
    )
    media_seconds: float = Field(
        600.0,
        gt=0,
        le=86400,
        allow_inf_nan=False,
        description="longest sound that is taken, in seconds",
    )
    adapters: tuple[NamedAdapter, ...] = Field(
        (),
        description="LoRA adapters, each a model by a name of its own that shares the model's "
        "weights, workers and queue: NAME=FILE, separated by commas, or a table of the config file",
    )
    lora: tuple[ScaledAdapter, ...] = Field(
        (),
        description="LoRA adapters that are applied to every request for the model, files "
        "separated by commas; each is also a model by its file's name",
    )
    lora_scaled: tuple[ScaledAdapter, ...] = Field(
        (), description="likewise, each with a scale: FILE:SCALE, separated by commas"
    )
    lora_init_without_apply: bool = Field(
        False, description="apply those to no request that does not ask for them"
    )
    alias: str | None = Field(
        None, min_length=1, description="name of the model in the API; none: the file's name"
    )
    workers: Count | Auto = Field(
        "auto",
        description="worker processes; auto: the number that `forge tune` measured as best, else "
        "one for every eight cores, and for models under 64 MiB one for four, at least two",
    )
    slots: Annotated[int, Field(ge=1, le=128)] | Auto = Field(
        "auto",
        description="sequences that generate at once, per worker; auto: 8, or 16 if --workers auto "
        "makes one worker",
    )
    threads: Count | Auto = Field(
        "auto",
        description="compute threads per worker; auto shares the cores among the workers, or one "
        "for models under 64 MiB if --workers is auto, too",
    )
    max_workers: Count | None = Field(
        None,
        description="most workers with --cluster: more than --workers are started while requests "
        "wait for 2 seconds or fill a worker, and ended after a minute without need; none: as many "
        "as --workers",
    )
    node_resources: tuple[str, ...] = Field(
        (),
        description="what each worker reserves on its node with --cluster: NAME=NUMBER, separated "
        "by commas, or a table of the config file; CPU is as many as --threads unless it is said",
    )
    node_labels: tuple[str, ...] = Field(
        (),
        description="labels that a node must have for a worker with --cluster: LABEL=VALUE, or "
        "LABEL=!VALUE, separated by commas, or a table of the config file",
    )
    node_placement: Literal["spread", "pack"] = Field(
        "spread",
        description="how workers go to the nodes with --cluster: one to each in turn, or to a few "
        "nodes that are filled",
    )
    ctx: Annotated[int, Field(ge=32)] | Auto = Field(
        "auto",
        description="tokens of KV cache per worker; one sequence may use "
        "min(model context, CTX); auto: slots x min(model context, 4096)",
    )
    cache_ram: Annotated[int, Field(ge=0, le=2**30)] | Auto = Field(
        "auto",
        description="MiB of memory, for all workers together, for prefixes that later prompts "
        "may begin with; 0: none; auto: an eighth of the machine's, at most 8192",
    )
    kv_unified: Literal["auto", "on", "off"] = Field(
        "auto",
        description="how sequences share the cells of the KV cache (on: all take from the same "
        "ones; off: each has its own, which is faster; auto: its own while that holds as many)",
    )
    cache_disk: int = Field(
        0,
        ge=0,
        le=2**30,
        description="MiB of disk, for each model, for prefixes that outlive their worker and the "
        "server, in ~/.cache/forge/prefixes; they hold what was said; 0: none",
    )
    batch: int = Field(
        512, ge=128, le=8192, description="most tokens computed in one step (decode and prefill)"
    )
    target_itl_ms: Gaps = Field(
        "auto",
        description="longest gap between two tokens of a stream while prompts are computed beside "
        "it, in milliseconds, for all or for each class (urgent=50,batch=2000; the rest is auto); "
        "auto: 50, or more where a step without prompts takes long or much waits; batch streams "
        "alone rest while prompts are computed, up to half a minute",
    )
    speculative: Literal["auto", "off"] = Field(
        "auto",
        description="drafts from the text of a request, verified while it is answered; auto: where "
        "that is faster",
    )
    cache_type_k: CacheType = Field("f16", description="type of the K cache")
    cache_type_v: CacheType = Field("f16", description="type of the V cache")
    flash_attn: Literal["auto", "on", "off"] = Field(
        "auto", description="flash attention (auto: on, unless off was measured as faster)"
    )
    repack: Switch = Field(
        "auto",
        description="copy weights into another order for this CPU (on: small batches are often "
        "faster; off: they stay mapped, and workers share them; auto: measured once, when a model "
        "is first loaded on a machine)",
    )
    mmap: bool = Field(
        True,
        description="map the model file, so that all workers share the weights; otherwise each "
        "worker has its own copy",
    )
    mlock: bool = Field(
        False, description="lock the weights in memory, so that they are never swapped out"
    )
    numa: Literal["off", "distribute", "isolate", "numactl"] = Field(
        "off", description="how threads are placed on a machine with several NUMA nodes"
    )
    n_gpu_layers: GpuLayers = Field(
        0, ge=-1, description="layers to offload to a GPU; -1 or all means all"
    )
    main_gpu: int = Field(
        0,
        ge=0,
        le=127,
        description="GPU for the whole model with --split-mode none, else for small tensors",
    )
    split_mode: Literal["none", "layer", "row", "tensor"] = Field(
        "layer", description="how the model is divided among several GPUs"
    )
    tensor_split: tuple[float, ...] = Field(
        (),
        description="proportions in which GPUs share the model, such as 3,1; none: by their memory",
    )
    kv_offload: bool = Field(True, description="keep the KV cache of layers on a GPU there, too")
    override_kv: tuple[str, ...] = Field(
        (),
        description="values in place of those in the model's file: KEY=TYPE:VALUE with int, float, "
        "bool or str, separated by commas",
    )
    override_tensor: tuple[str, ...] = Field(
        (),
        description="buffers for tensors, in place of those that --n-gpu-layers gives them: "
        "PATTERN=BUFFER, where the pattern is a regular expression for names and the buffer CPU, "
        "CUDA0 and the like, separated by commas",
    )
    cpu_moe: bool = Field(
        False,
        description="keep the weights of a mixture's experts in the machine's memory, whatever "
        "--n-gpu-layers says of their layers",
    )
    n_cpu_moe: int = Field(0, ge=0, le=9999, description="likewise, of so many of the first layers")
    rope_scaling: Literal["auto", "none", "linear", "yarn"] = Field(
        "auto", description="how RoPE's frequencies are scaled; auto: as the model says"
    )
    rope_scale: float = Field(
        0.0,
        ge=0,
        le=1e6,
        allow_inf_nan=False,
        description="factor by which RoPE scaling makes the context longer; 0: the model's",
    )
    rope_freq_base: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="base frequency of RoPE; 0: the model's"
    )
    rope_freq_scale: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="factor on RoPE's frequencies; 0: the model's"
    )
    yarn_orig_ctx: int = Field(
        0, ge=0, lt=2**31, description="context that the model had before YaRN; 0: the model's"
    )
    yarn_ext_factor: YarnFactor = Field(
        -1.0, description="YaRN's mix of extrapolation, 0 has none of it; -1: the model's"
    )
    yarn_attn_factor: YarnFactor = Field(
        -1.0, description="YaRN's factor on attention; -1: the model's"
    )
    yarn_beta_slow: YarnFactor = Field(
        -1.0, description="rotations below which YaRN interpolates; -1: the model's"
    )
    yarn_beta_fast: YarnFactor = Field(
        -1.0, description="rotations above which YaRN extrapolates; -1: the model's"
    )
    reasoning_budget: int = Field(
        -1,
        ge=-1,
        lt=2**31,
        description="most tokens of a thought, which is closed then, unless the request has a "
        "limit of its own; 0: no thought; -1: no limit",
    )
    reasoning_budget_message: str = Field(
        "", max_length=1024, description="last words of a thought that is closed so"
    )
    chat_template: str | None = Field(
        None,
        min_length=1,
        description="chat template in Jinja, or llama.cpp's name of one, such as chatml or llama3; "
        "none: the model's",
    )
    chat_template_file: Path | None = Field(
        None, description="file of the chat template, in place of --chat-template"
    )

    @field_validator("adapters", mode="before")
    @classmethod
    def _adapters(cls, value: Any) -> Any:
        return adapter_options.named(value)

    @field_validator("lora", mode="before")
    @classmethod
    def _lora(cls, value: Any) -> Any:
        return adapter_options.applied(value)

    @field_validator("lora_scaled", mode="before")
    @classmethod
    def _lora_scaled(cls, value: Any) -> Any:
        return adapter_options.scaled(value)

    @field_validator("image_max_tokens")
    @classmethod
    def _no_less(cls, value: int, info: ValidationInfo) -> int:
        if -1 < value < info.data.get("image_min_tokens", -1):
            raise ValueError("expected no less than --image-min-tokens")
        return value

    @field_validator("rope_freq_scale")
    @classmethod
    def _one_scale(cls, value: float, info: ValidationInfo) -> float:
        """Options that say the same in two ways."""
        if value and info.data.get("rope_scale"):
            raise ValueError("expected none beside --rope-scale")
        return value

    @field_validator("tensor_split", mode="before")
    @classmethod
    def _proportions(cls, value: Any) -> Any:
        return proportions(value)

    @field_validator("override_kv", mode="before")
    @classmethod
    def _overrides(cls, value: Any) -> Any:
        """Checked here, taken apart where they are used."""
        return tuple(override.said for override in parse(value))

    @field_validator("node_resources", mode="before")
    @classmethod
    def _node_resources(cls, value: Any) -> Any:
        return node_needs.resources(value)

    @field_validator("node_labels", mode="before")
    @classmethod
    def _node_labels(cls, value: Any) -> Any:
        return node_needs.labels(value)

    @field_validator("override_tensor", mode="before")
    @classmethod
    def _buffers(cls, value: Any) -> Any:
        return buffers(value)

    @field_validator("chat_template")
    @classmethod
    def _named_template(cls, value: str | None) -> str | None:
        """The name stays as it was said; what it names is looked up where it is used."""
        if value is not None:
            chat_templates.named(value)
        return value

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
