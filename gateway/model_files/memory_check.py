"""Is there room for the model? Asked before it is loaded, with the machine's answer."""

import platform
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.config.config import Config, ConfigError
from gateway.model_files import gguf, gpu_probe, memory_fit
from gateway.system import host
from workers.protocol import Value

MOST_LAYERS = 512
"""llama.cpp's LLAMA_MAX_LAYERS."""


def check(config: Config) -> str | None:
    """A line of warning, if any. Raises :class:`ConfigError` if it does not fit.

    What goes to a GPU is not reckoned. Where the system does not tell how much is free, nothing is
    said. Nor is it of a file that can't be read: the worker that tries to will say why.
    """
    free = host.memory_available()
    if free is None:
        return None
    try:
        wanted = wanted_by(config, gguf.read(config.model), gpu=on_gpu(config))
    except gguf.Unreadable:
        return None
    reason = memory_fit.refusal(wanted, free)
    if reason is None:
        return memory_fit.warning(wanted, free)
    if config.force:
        return f"--force: {reason.removesuffix(memory_fit.TRY_ANYWAY)}"
    raise ConfigError(f"--model: {reason}")


def on_gpu(config: Config) -> bool:
    """Whether there is a GPU that takes layers of the model."""
    return gpu_probe.takes_layers(config.n_gpu_layers)


def wanted_by(config: Config, model: gguf.Gguf, *, gpu: bool = False) -> memory_fit.RequestedShape:
    """``model`` as ``config`` says it is to be served.

    ``gpu``: what is offloaded goes to one, and is left out; else all is taken together.
    """
    shape = config.shape()
    spec = config.worker_spec()
    if spec.override_kv:
        model = replace(model, metadata=overridden(model.metadata, spec.override_kv))
    return memory_fit.RequestedShape(
        model, spec, shape.workers, processor(), config.cache_bytes(), gpu
    )


def overridden(metadata: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Any]:
    """As llama.cpp does: a value of another type than the file's does not count.

    Nor does a number of layers that no model has; llama.cpp will say so.
    """

    def counts(key: str, value: Value) -> bool:
        known = metadata.get(key)
        if known is not None and not isinstance(known, tuple) and type(known) is not type(value):
            return False
        many = isinstance(value, int) and not 0 <= value <= MOST_LAYERS
        return not (many and key.endswith(".block_count"))

    return {**metadata, **{key: value for key, value in values.items() if counts(key, value)}}


def processor() -> str:
    """The kind, as :mod:`gateway.model_files.memory_estimate` tells them apart."""
    name = platform.machine().lower()
    if name in ("x86_64", "amd64"):
        return "x86"
    return "arm" if name in ("aarch64", "arm64") else name
