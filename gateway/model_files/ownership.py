"""The files that Forge itself has brought: the only ones that a request may delete.

Forge's own cache has nothing else. The hub's cache is shared with other programs, so what Forge
brings there is noted in ``~/.cache/forge/pulled``: a file for each content, named by the SHA-256 of
its path, with the time of the content's last change. What another program has brought to another
repository, or again after a deletion, is its own, though it be the same.
"""

import contextlib
import hashlib
import re
from pathlib import Path

from gateway.model_files import url_cache
from gateway.system.paths import cache_folder

CONTENT = re.compile(r"[0-9a-f]{64}")
"""The name of a content in the hub's cache: its SHA-256."""


def claim(file: Path) -> None:
    """Note a file of the hub's cache as brought by Forge; without a home nothing is noted."""
    with contextlib.suppress(OSError, RuntimeError):
        content = file.resolve(strict=True)
        if CONTENT.fullmatch(content.name):
            note = _note(content)
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(_state(content))


def disclaim(content: Path) -> None:
    """Forget the note of a content that is gone."""
    with contextlib.suppress(OSError, RuntimeError):
        _note(content).unlink(missing_ok=True)


def is_ours(file: Path, hub: Path) -> bool:
    """Tell if Forge has brought a file of its own cache, or of the ``hub``'s.

    A link that leads out of the cache is not ours, wherever it stands.
    """
    try:
        real = file.resolve(strict=True)
        if file.is_relative_to(url_cache.cache()):
            return not file.is_symlink() and real.is_relative_to(url_cache.cache().resolve())
        inside = real.is_relative_to(hub.resolve()) and real.parent.name == "blobs"
        noted = _note(real).read_text() == _state(real)
    except (OSError, RuntimeError, UnicodeDecodeError):
        return False
    return inside and noted


def _note(content: Path) -> Path:
    name = hashlib.sha256(str(content).encode("utf-8", "surrogateescape")).hexdigest()
    return cache_folder() / "pulled" / name


def _state(content: Path) -> str:
    return str(content.stat().st_mtime_ns)
