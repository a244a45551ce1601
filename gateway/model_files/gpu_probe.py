"""Does llama.cpp find a GPU on this machine? The workers know; a process of theirs is asked."""

import functools
import subprocess

from workers.protocol import children

PATIENCE = 60.0
"""Seconds; drivers of GPUs may take some to wake up."""


def takes_layers(n_gpu_layers: int) -> bool:
    """Return whether some layers will be on a GPU, as it is asked with --n-gpu-layers."""
    return n_gpu_layers != 0 and there()


@functools.cache
def there() -> bool:
    """Also if that can't be found out: then nothing is refused for layers that may be there."""
    command = children.command("workers.llama")
    try:
        done = subprocess.run(
            command,
            env=children.environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return True
    return done.stdout.strip() != "false"
