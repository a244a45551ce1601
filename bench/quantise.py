"""`python -m bench.quantise SOURCE TARGET TYPE`: llama.cpp's own quantiser.

A process of its own: its log goes to stderr, one line a tensor, and it may end the process.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PROGRESS = re.compile(r"^\[\s*(\d+)/\s*(\d+)\]")


def quantise(source: Path, target: Path, file_type: int, tick: Callable[[int, int], None]) -> None:
    """Write ``source`` as ``file_type`` (llama.cpp's LLAMA_FTYPE_*); ``tick`` gets done and total.

    Raises RuntimeError with the log's end.
    """
    command = [sys.executable, "-m", "bench.quantise", str(source), str(target), str(file_type)]
    log = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None
        for line in process.stderr:
            log.append(line)
            if found := PROGRESS.match(line):
                tick(int(found[1]), int(found[2]))
    if process.returncode:
        raise RuntimeError(f"can't quantise {source}:\n{''.join(log[-10:])}")


def main(source: str, target: str, file_type: str) -> int:
    """Do the work of the process; return its exit status."""
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = int(file_type)
    given = ctypes.byref(params)
    return int(llama_cpp.llama_model_quantize(source.encode(), target.encode(), given) != 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
