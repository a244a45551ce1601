"""The configuration: one frozen, validated object.

Its fields are the only list of options: the command line, its help and the table of docs/reference
are made from them. They are in :mod:`gateway.config.server_options` and
:mod:`gateway.config.engine_options`; here is what follows from them. Where their values come from
is in :mod:`gateway.config.sources`.
"""

import re
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import PrivateAttr

from gateway.config import chat_templates
from gateway.config.engine_options import EMBEDDED_MODEL
from gateway.config.node_needs import divided
from gateway.config.overrides import overridden, tensor_buffers
from gateway.config.patience import patience
from gateway.config.pool_shape import SMALL, PoolShape, Wanted, divide
from gateway.config.server_options import ServerOptions
from gateway.core.projectors import beside
from gateway.system.host import available_cores, total_memory
from workers.protocol import MediaBounds, WorkerSpec

__all__ = ["EMBEDDED_MODEL", "MIB", "Config", "ConfigError", "ModelSources", "NotNow"]

MIB = 1024 * 1024
MOST_CACHE_RAM = 8192
"""MiB that an automatic --cache-ram takes at most: what llama-server takes."""
NODE_THREADS = 4
"""Threads of a worker on a node, whose cores are not known here."""


class ConfigError(Exception):
    """One line that says which option is wrong, where it was set and why."""


class NotNow(ConfigError):
    """The options are right, and the machine lacks what they need; another attempt may find it."""


class ModelSources(NamedTuple):
    """The words for a model's files, as they were said: paths, or sources of downloads."""

    model: str = ""
    mmproj: str = ""
    """Empty: nothing was said; a projector was looked for beside the model."""


class Config(ServerOptions):
    """The options of ``forge serve``."""

    _sources: ModelSources = PrivateAttr(default=ModelSources())
    """No option: what the model's files are made of is found by their paths."""

    @property
    def sources(self) -> ModelSources:
        """Return what was said for the model's files."""
        return self._sources

    def with_files(self, sources: ModelSources, **paths: Path | str) -> Self:
        """Return it with files in place of what was said for them."""
        found = self.model_copy(update=paths)
        found._sources = sources
        return found

    @property
    def model_name(self) -> str:
        """Return the name that clients give the model; names of files need not be UTF-8."""
        name = re.sub(r"-00001-of-\d{5}$", "", self.model.stem)
        return self.alias or name.encode("utf-8", "replace").decode()

    def shape(self, cores: int | None = None) -> PoolShape:
        """Workers, slots and threads for a machine with ``cores``."""
        workers, slots, threads = (
            None if value == "auto" else value for value in (self.workers, self.slots, self.threads)
        )
        if self.cluster is not None:
            cores = NODE_THREADS
            workers = workers or 1
            threads = threads or self._reserved_cpus() or (1 if self.small() else NODE_THREADS)
        said = workers, slots, threads
        gpu = self.n_gpu_layers != 0
        return divide(cores or available_cores(), Wanted(*said), small=self.small(), gpu=gpu)

    def _reserved_cpus(self) -> int:
        """Return the whole CPUs that a worker on a node reserves; 0: that is not said."""
        return int(float(divided(self.node_resources).get("CPU", 0)))

    def small(self) -> bool:
        """Return whether the model is so small that threads don't pay; it may not be here yet."""
        try:
            return self.model.stat().st_size < SMALL and "-of-" not in self.model.name
        except (OSError, ValueError):
            return False

    def worker_spec(self) -> WorkerSpec:
        """Return the settings of each worker."""
        shape, projector = self.shape(), self.projector()
        return WorkerSpec(
            model_path=str(self.model),
            slots=shape.slots,
            threads=shape.threads,
            n_ctx=None if self.ctx == "auto" else self.ctx,
            batch=max(self.batch, shape.slots),
            type_k=self.cache_type_k,
            type_v=self.cache_type_v,
            flash_attn=self.flash_attn,
            repack=self.repack != "off",
            n_gpu_layers=self.n_gpu_layers,
            rope_freq_base=self.rope_freq_base,
            rope_freq_scale=1 / self.rope_scale if self.rope_scale else self.rope_freq_scale,
            rope_scaling=self.rope_scaling,
            yarn_orig_ctx=self.yarn_orig_ctx,
            yarn_ext_factor=self.yarn_ext_factor,
            yarn_attn_factor=self.yarn_attn_factor,
            yarn_beta_slow=self.yarn_beta_slow,
            yarn_beta_fast=self.yarn_beta_fast,
            mmap=self.mmap,
            mlock=self.mlock,
            numa=self.numa,
            main_gpu=self.main_gpu,
            split_mode=self.split_mode,
            tensor_split=self.tensor_split,
            kv_offload=self.kv_offload,
            kv_unified=self.kv_unified,
            override_kv=overridden(self.override_kv),
            tensor_buffers=tensor_buffers(self.override_tensor, self.cpu_moe, self.n_cpu_moe),
            chat_template=self.template_source(),
            log_level=self.log_level,
            log_format=self.log_format,
            heartbeat_s=min(1.0, self.stuck_timeout / 5),
            patience=patience(self.target_itl_ms),
            speculative=self.speculative == "auto",
            cache_bytes=self.cache_bytes() // shape.workers,
            disk_bytes=self.cache_disk * MIB,
            name=f"'{self.model_name}'",
            mmproj=None if projector is None else str(projector),
            media=MediaBounds(
                pixels=self.media_pixels,
                seconds=self.media_seconds,
                image_min_tokens=self.image_min_tokens,
                image_max_tokens=self.image_max_tokens,
            ),
        )

    def projector(self) -> Path | None:
        """Return the file with which the model takes pictures or sound; None: it takes none.

        Looked for anew each time: a download may have brought it.
        """
        if self.mmproj == "none":
            return None
        return beside(self.model) if self.mmproj == "auto" else Path(self.mmproj)

    def template_source(self) -> str | None:
        """Return the chat template that stands for the model's own, if one does."""
        if self.chat_template_file is not None:
            return self.chat_template_file.read_text(encoding="utf-8")
        return None if self.chat_template is None else chat_templates.named(self.chat_template)

    def cache_bytes(self, memory: int | None = None) -> int:
        """Bytes of --cache-ram on a machine with so many bytes of ``memory``."""
        if self.cache_ram != "auto":
            return self.cache_ram * MIB
        return min((memory or total_memory()) // 8, MOST_CACHE_RAM * MIB)

    def adapter_files(self) -> list[Path]:
        """Return the files of all LoRA adapters that the options name, each once."""
        scaled = [each.file for each in (*self.lora, *self.lora_scaled)]
        return list(dict.fromkeys([*scaled, *(each.file for each in self.adapters)]))
