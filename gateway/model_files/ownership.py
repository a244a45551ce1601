"""The files that Forge itself has brought: the only ones that a request may delete.

Forge's own cache has nothing else. The hub's cache is shared with other programs, so what Forge
brings there is noted in ``~/.cache/forge/pulled``: an empty file for each content, named by its
SHA-256 as in the hub's cache.
"""

import contextlib
import re
from pathlib import Path

from gateway.model_files import url_cache
from gateway.system.paths import cache_folder

CONTENT = re.compile(r"[0-9a-f]{64}")
"""The name of a content in the hub's cache: its SHA-256."""


def claim(file: Path) -> None:
    """Note a file of the hub's cache as brought by Forge; without a home nothing is noted."""
    content = file.resolve().name
    if CONTENT.fullmatch(content):
        with contextlib.suppress(OSError, RuntimeError):
            _notes().mkdir(parents=True, exist_ok=True)
            (_notes() / content).touch()


def disclaim(content: str) -> None:
    """Forget the note of a content that is gone."""
    with contextlib.suppress(OSError, RuntimeError):
        (_notes() / content).unlink(missing_ok=True)


def is_ours(file: Path, hub: Path) -> bool:
    """Tell if Forge has brought a file of its own cache, or of the ``hub``'s.

    A link that leads out of the cache is not ours, wherever it stands.
    """
    try:
        real = file.resolve(strict=True)
        if file.is_relative_to(url_cache.cache()):
            return not file.is_symlink() and real.is_relative_to(url_cache.cache().resolve())
        inside = real.is_relative_to(hub.resolve()) and real.parent.name == "blobs"
        noted = CONTENT.fullmatch(real.name) is not None and (_notes() / real.name).exists()
    except (OSError, RuntimeError):
        return False
    return inside and noted


def _notes() -> Path:
    return cache_folder() / "pulled"
