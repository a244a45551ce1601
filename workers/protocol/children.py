"""Start of Python processes of this project, from both sides of the border.

A child must run the modules of this installation. By itself ``python -m`` puts the current
directory first on the path of modules, so that a stranger's ``workers.py`` there would be executed.
"""

import os
import site
import sys
from pathlib import Path

HUGE_PAGES = "glibc.malloc.hugetlb"
"""glibc's option for blocks that are mapped: 1 advises the kernel to give huge pages."""
ROOT = Path(__file__).parents[2]
"""The folder with the packages gateway and workers: of a checkout, or site-packages."""


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of ours; to be started with :func:`environment`."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """This process's environment, in which a child finds the packages and trusts no folder else.

    An installation is found by itself. A checkout that runs without one is named, before all else.
    """
    found = {**os.environ, "PYTHONSAFEPATH": "1"}
    installed = {Path(folder) for folder in (*site.getsitepackages(), site.getusersitepackages())}
    if ROOT not in installed:
        inherited = os.environ.get("PYTHONPATH")
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), inherited]))
    return found


def worker_variables() -> dict[str, str]:
    """Variables that the process of a worker gets beside, or in place of, this one's.

    glibc asks for huge pages for what is allocated in large blocks. Without flash attention a
    token's values are written to and read from some thousand places of the KV cells, each in a page
    of its own: with pages of 4 KiB, 4 to 7 % of a token's time goes to finding them (SmolLM2-135M,
    32,768 cells). Where the kernel has none to give, or the C library is another one, nothing
    changes. What the operator says of that option stays.
    """
    said = os.environ.get("GLIBC_TUNABLES", "")
    if HUGE_PAGES not in said:
        said = ":".join(filter(None, [said, f"{HUGE_PAGES}=1"]))
    return {"PYTHONSAFEPATH": "1", "GLIBC_TUNABLES": said}
