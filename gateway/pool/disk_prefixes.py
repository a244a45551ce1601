"""The folder where the workers of a pool keep prefixes that outlive them."""

import asyncio
import logging
from pathlib import Path

import msgspec

from gateway.system import prefix_folders
from workers.protocol import WorkerSpec

log = logging.getLogger("forge.pool")

STATE_FACTS = (
    "type_k", "type_v", "flash_attn", "n_gpu_layers", "rope_freq_base", "rope_freq_scale",
    "rope_scaling", "yarn_orig_ctx", "yarn_ext_factor", "yarn_attn_factor", "yarn_beta_slow",
    "yarn_beta_fast", "override_kv", "tensor_buffers",
)  # fmt: skip
"""Settings of a worker without which a saved state would be another's, or can't be restored."""


async def with_folder(spec: WorkerSpec, model_print: bytes | None) -> WorkerSpec:
    """Return ``spec`` with a folder for its prefixes, if it wants one and there can be one.

    ``model_print``: a digest of the model's files, None if they can't be read.
    """
    if not spec.disk_bytes or model_print is None:
        return spec
    facts = msgspec.msgpack.encode({name: getattr(spec, name) for name in STATE_FACTS})
    try:
        folder = await asyncio.to_thread(
            prefix_folders.prepare, Path(spec.model_path), [model_print, facts]
        )
        secret = str(prefix_folders.secret_file())
    except (OSError, RuntimeError) as error:
        log.warning("no prefixes are kept on the disk: %s", error)
        return spec
    return msgspec.structs.replace(spec, disk_folder=str(folder), disk_secret=secret)
