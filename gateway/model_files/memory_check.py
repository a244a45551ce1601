"""Compare the estimate for a model with the memory that the machine has free."""

import platform

from gateway.config.config import Config, NotNow
from gateway.model_files import gguf, gpu_probe, lora, memory_fit, projector
from gateway.model_files.memory_probe import MemoryProbe, NotPlanned, remembering
from gateway.system import host


def check(config: Config) -> str | None:
    """A line of warning, if any. Raises :class:`NotNow` if it does not fit.

    Memory of a GPU does not count. Nothing is said where the system does not tell how much is free,
    or where the file can't be read: the worker that tries to will say why.
    """
    free = host.memory_available()
    if free is None:
        return None
    with remembering() as probe:
        try:
            wanted = wanted_by(config, gguf.read(config.model), probe, gpu=on_gpu(config))
            reason = memory_fit.refusal(wanted, free)
            if reason is None:
                return memory_fit.warning(wanted, free)
        except (gguf.Unreadable, NotPlanned):
            return None
    if config.force:
        return f"--force: {reason.removesuffix(memory_fit.TRY_ANYWAY)}"
    raise NotNow(f"--model: {reason}")


def on_gpu(config: Config) -> bool:
    """Return whether there is a GPU that takes layers of the model."""
    return gpu_probe.takes_layers(config.n_gpu_layers)


def wanted_by(
    config: Config, model: gguf.Gguf, probe: MemoryProbe, *, gpu: bool = False
) -> memory_fit.RequestedShape:
    """``model`` as ``config`` says it is to be served.

    ``gpu``: what is offloaded goes to one, and is left out; else all is taken together.
    """
    shape = config.shape()
    spec = config.worker_spec()
    return memory_fit.RequestedShape(
        model,
        spec,
        shape.workers,
        processor(),
        config.cache_bytes(),
        probe.plan,
        config.spare,
        gpu,
        projector.size(config.projector()),
        tuple(lora.matrices(config.adapter_files())),
    )


def processor() -> str:
    """The kind, as :mod:`gateway.model_files.memory_estimate` tells them apart."""
    name = platform.machine().lower()
    if name in ("x86_64", "amd64"):
        return "x86"
    return "arm" if name in ("aarch64", "arm64") else name
