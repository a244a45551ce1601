"""Facts that a report must state about where its figures come from."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gateway.system.host import available_cores, cpu_model


def machine() -> dict[str, Any]:
    """Return the machine and the software that it ran on."""
    return {
        "cpu": cpu_model(),
        "cores": available_cores(),
        "system": platform.platform(terse=True),
    }


def versions() -> dict[str, str]:
    """Of what computes and of what serves."""
    names = ("llama-cpp-python", "uvicorn", "starlette", "uvloop", "orjson")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def commit() -> str:
    """Forge's own, with a + if files differ from it; empty outside a repository."""
    git = ("git", "-C", str(Path(__file__).parent))
    try:
        head = subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], text=True).strip()
        changed = subprocess.check_output([*git, "status", "--porcelain"], text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+" if changed else "")
