"""`python -m workers.llama.build`: print as JSON how this llama.cpp was built, for forge doctor."""

import json
from typing import Any

import llama_cpp

from workers.llama.library import amx_fails, initialise


def described() -> dict[str, Any]:
    """Return its version, the CPU's features that it uses, and what of the machine it can use."""
    return {
        "version": llama_cpp.__version__,
        "features": features(llama_cpp.llama_print_system_info().decode()),
        "amx_fails": amx_fails(),
        "gpu": bool(llama_cpp.llama_supports_gpu_offload()),
    }


def features(told: str) -> dict[str, dict[str, str]]:
    """Return what llama.cpp tells of its backends, as "CPU : AVX2 = 1 | ... | CUDA : ..."."""
    found: dict[str, dict[str, str]] = {}
    backend = "CPU"
    for part in told.split("|"):
        name, _, value = part.partition("=")
        if ":" in name:
            before, _, name = name.rpartition(":")
            backend = before.strip()
        if name.strip():
            found.setdefault(backend, {})[name.strip()] = value.strip()
    return found


if __name__ == "__main__":
    initialise()
    print(json.dumps(described()))
