"""The user's folders for Forge, by the XDG base directory specification."""

import os
from collections.abc import Mapping
from pathlib import Path

NAME = "forge"


class NoHome(RuntimeError):
    """The user has no home folder, and the environment names no other."""


def home() -> Path:
    """Return the user's home folder. Raises :class:`NoHome`."""
    try:
        return Path.home()
    except RuntimeError:
        text = "this user has no home folder: set HOME, or XDG_CACHE_HOME and its like"
        raise NoHome(text) from None


def config_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder of what the user has set or measured. Raises :class:`NoHome`."""
    return _folder(environment, "XDG_CONFIG_HOME", ".config")


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder of what can be fetched again. Raises :class:`NoHome`."""
    return _folder(environment, "XDG_CACHE_HOME", ".cache")


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder of histories. Raises :class:`NoHome`."""
    return _folder(environment, "XDG_STATE_HOME", ".local/state")


def _folder(environment: Mapping[str, str], variable: str, usual: str) -> Path:
    # The specification: a relative path in the variable is to be ignored.
    given = environment.get(variable, "")
    base = Path(given) if os.path.isabs(given) else home() / usual
    return base / NAME
