"""A file's name as it is told again. Pure.

It never names a file here: blobs have names of their own. It is cleaned for the programs that save
a file under it, and for terminals.
"""

import re
from urllib.parse import quote

LONGEST = 200
"""Characters: file systems take 255 bytes, and browsers add to it."""
NAMELESS = "file"


def cleaned(name: str) -> str:
    """Return the last part of a path, without controls and what only looks like other text."""
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(each for each in last if each.isprintable()).strip(" .")
    stem, dot, ending = kept.rpartition(".")
    if len(kept) > LONGEST and dot and len(ending) < 20:
        return f"{stem[: LONGEST - len(ending) - 1]}.{ending}"
    return kept[:LONGEST].strip(" .") or NAMELESS


def attachment(name: str) -> str:
    """Return the header Content-Disposition of a download under ``name``."""
    plain = "".join(each if each.isascii() and each not in '"\\%' else "_" for each in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
