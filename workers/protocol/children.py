"""Start of Python processes of this project, from both sides of the border.

A child must run the modules of this installation. By itself ``python -m`` puts the current
directory first on the path of modules, so that a stranger's ``workers.py`` there would be executed.
"""

import os
import site
import sys
from pathlib import Path

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
