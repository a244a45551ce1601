"""The user's folders for Forge, by the XDG base directory specification."""

import os
from collections.abc import Mapping
from pathlib import Path

NAME = "forge"


def config_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder of what the user has set or measured. Raises RuntimeError without a home folder."""
    return _folder(environment, "XDG_CONFIG_HOME", ".config")


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder of what can be fetched again. Raises RuntimeError without a home folder."""
    return _folder(environment, "XDG_CACHE_HOME", ".cache")


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder of histories. Raises RuntimeError without a home folder."""
    return _folder(environment, "XDG_STATE_HOME", ".local/state")


def _folder(environment: Mapping[str, str], variable: str, usual: str) -> Path:
    # The specification: a relative path in the variable is to be ignored.
    given = environment.get(variable, "")
    base = Path(given) if os.path.isabs(given) else Path.home() / usual
    return base / NAME
