"""Is there room for the model? Asked before it is loaded, with the machine's answer."""

import platform

from gateway import machine
from gateway.config import Config, ConfigError
from gateway.models import fit, gguf


def check(config: Config) -> str | None:
    """A line of warning, if any. Raises :class:`ConfigError` if it does not fit.

    Where the memory is a GPU's, or the system does not tell how much is free, nothing is said. Nor
    is it of a file that can't be read: the worker that tries to will say why.
    """
    free = machine.memory_available()
    if free is None or config.n_gpu_layers:
        return None
    try:
        wanted = wanted_by(config, gguf.read(config.model))
    except gguf.Unreadable:
        return None
    reason = fit.refusal(wanted, free)
    if reason is None:
        return fit.warning(wanted, free)
    if config.force:
        return f"--force: {reason.removesuffix(fit.TRY_ANYWAY)}"
    raise ConfigError(f"--model: {reason}")


def wanted_by(config: Config, model: gguf.Gguf) -> fit.Wanted:
    """``model`` as ``config`` says it is to be served."""
    shape = config.shape()
    spec = config.worker_spec()
    return fit.Wanted(model, spec, shape.workers, processor(), config.cache_bytes())


def processor() -> str:
    """The kind, as :mod:`gateway.models.memory` tells them apart."""
    name = platform.machine().lower()
    if name in ("x86_64", "amd64"):
        return "x86"
    return "arm" if name in ("aarch64", "arm64") else name
