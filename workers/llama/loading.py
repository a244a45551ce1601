"""Loading of a model: llama.cpp's model parameters from a :class:`WorkerSpec`."""

import ctypes
import logging
from collections.abc import Mapping
from pathlib import Path

import llama_cpp

from workers.llama import buffers
from workers.llama.library import LoadFailed, extra_buffers
from workers.protocol import Value, WorkerSpec

log = logging.getLogger("forge.llama")

SPLIT_MODES = {
    "none": llama_cpp.LLAMA_SPLIT_MODE_NONE,
    "layer": llama_cpp.LLAMA_SPLIT_MODE_LAYER,
    "row": llama_cpp.LLAMA_SPLIT_MODE_ROW,
    "tensor": llama_cpp.LLAMA_SPLIT_MODE_TENSOR,
}
LOAD_MODES = {  # by mmap and mlock
    (True, False): llama_cpp.LLAMA_LOAD_MODE_AUTO,
    (True, True): llama_cpp.LLAMA_LOAD_MODE_MMAP_MLOCK,
    (False, False): llama_cpp.LLAMA_LOAD_MODE_NONE,
    (False, True): llama_cpp.LLAMA_LOAD_MODE_MLOCK,
}
NUMA = {
    "distribute": llama_cpp.GGML_NUMA_STRATEGY_DISTRIBUTE,
    "isolate": llama_cpp.GGML_NUMA_STRATEGY_ISOLATE,
    "numactl": llama_cpp.GGML_NUMA_STRATEGY_NUMACTL,
}
NODES = Path("/sys/devices/system/node")


def model_params(spec: WorkerSpec) -> llama_cpp.llama_model_params:
    """Raises :class:`LoadFailed`. The arrays that it points to live as long as it does."""
    params: llama_cpp.llama_model_params = llama_cpp.llama_model_default_params()
    params.use_extra_bufts = spec.repack and bool(extra_buffers())
    params.load_mode = LOAD_MODES[spec.mmap, spec.mlock]
    params.n_gpu_layers = spec.n_gpu_layers
    if has_gpu():
        params.main_gpu, params.split_mode = spec.main_gpu, SPLIT_MODES[spec.split_mode]
        if spec.tensor_split:
            params.tensor_split = _shares(spec.tensor_split)
    if spec.override_kv:
        params.kv_overrides = _overrides(spec.override_kv)
    if spec.tensor_buffers:
        array = buffers.overrides(spec.tensor_buffers)
        # Such a pointer keeps the array for as long as the parameters have it. The field is one.
        params.tensor_buft_overrides = ctypes.cast(array, ctypes.c_void_p)  # type: ignore[assignment]
    return params


def has_gpu() -> bool:
    """Return whether this llama.cpp was built for a GPU and finds one."""
    return bool(llama_cpp.llama_supports_gpu_offload())


def on_cpu(spec: WorkerSpec) -> bool:
    """Return whether attention is computed by the CPU, in all layers."""
    return spec.n_gpu_layers == 0 or not spec.kv_offload or not has_gpu()


def warn_of_missing_gpu(spec: WorkerSpec) -> None:
    """Warn of options that need a GPU, where llama.cpp finds none."""
    if has_gpu():
        return
    shares = ",".join(f"{share:g}" for share in spec.tensor_split)
    asked = [
        (spec.n_gpu_layers != 0, f"--n-gpu-layers {spec.n_gpu_layers}"),
        (spec.main_gpu != 0, f"--main-gpu {spec.main_gpu}"),
        (spec.split_mode != "layer", f"--split-mode {spec.split_mode}"),
        (shares != "", f"--tensor-split {shares}"),
        (not spec.kv_offload, "--no-kv-offload"),
        (bool(spec.tensor_buffers), "--override-tensor, --cpu-moe or --n-cpu-moe"),
    ]
    for given, option in asked:
        if given:
            log.warning("%s: this llama.cpp finds no GPU, all layers stay on the CPU", option)


def _shares(split: tuple[float, ...]) -> ctypes.Array[ctypes.c_float]:
    most = int(llama_cpp.llama_max_devices())
    if len(split) > most:
        raise LoadFailed(f"--tensor-split: {len(split)} GPUs, and llama.cpp takes {most} at most")
    shares: ctypes.Array[ctypes.c_float] = (ctypes.c_float * most)(*split)
    return shares


def _overrides(values: Mapping[str, Value]) -> ctypes.Array[llama_cpp.llama_model_kv_override]:
    """Return the array of overrides, ended by one without a key."""
    array = (llama_cpp.llama_model_kv_override * (len(values) + 1))()
    for entry, (key, value) in zip(array, values.items(), strict=False):
        entry.key = key.encode()
        if isinstance(value, bool):  # before int, as a bool is an int, too
            entry.tag, entry.value.val_bool = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_BOOL, value
        elif isinstance(value, int):
            entry.tag, entry.value.val_i64 = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_INT, value
        elif isinstance(value, float):
            entry.tag, entry.value.val_f64 = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_FLOAT, value
        else:
            entry.tag, entry.value.val_str = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR, value.encode()
    return array


_numa: str | None = None


def place_threads(numa: str, nodes: Path = NODES) -> None:
    """Tell ggml how to use the machine's NUMA nodes; once per process, before a model is loaded."""
    global _numa
    if numa == "off" or _numa is not None:
        return
    _numa = numa
    if len(list(nodes.glob("node[0-9]*"))) < 2:
        log.warning("--numa %s: this machine has one NUMA node, so it changes nothing", numa)
    llama_cpp.llama_numa_init(NUMA[numa])
