"""Models at plain addresses, in a cache of our own."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from gateway.core.split_files import PART, part_name
from gateway.model_files.progress import DownloadProgress
from gateway.model_files.source import Url, shown
from gateway.system.paths import cache_folder


def cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of models. Raises RuntimeError if this user has no home."""
    return cache_folder(environment) / "models"


def pull(source: Url, tell: DownloadProgress) -> Path:
    """The first or only file of the model. What is in the cache is not asked for again.

    Raises :class:`gateway.model_files.download.FetchFailed`.
    """
    from gateway.model_files.download import FileToFetch, client, fetch  # late: an HTTP client

    found = list[Path]()
    with client() as http:
        for url in parts(source.url):
            target = place(source.url, url)
            if not target.exists():
                wanted = FileToFetch(url, target, target.name)
                fetch(http, wanted, target.with_name(f"{target.name}.incomplete"), tell)
            found.append(target)
    return found[0]


def parts(url: str) -> list[str]:
    """The addresses of all parts, by the names of the files; of one that is no part itself."""
    split = urlsplit(url)
    folder, _, name = split.path.rpartition("/")
    match = PART.fullmatch(unquote(name))
    if match is None:
        return [url]
    stem, count = name.rpartition("-of-")[0].rpartition("-")[0], int(match["count"])
    return [
        urlunsplit(split._replace(path=f"{folder}/{part_name(stem, number, count)}"))
        for number in range(1, count + 1)
    ]


def place(source: str, url: str) -> Path:
    """The file for ``url``, in a folder for the address that was asked for."""
    split = urlsplit(source)
    mark = hashlib.sha256(shown(source).encode()).hexdigest()[:8]
    host = re.sub(r"[^A-Za-z0-9.-]", "_", split.hostname or "unknown")
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    name = re.sub(r"[^\w. -]", "_", name)[:200].lstrip(".") or "model"
    if not name.lower().endswith(".gguf"):
        name += ".gguf"
    return cache() / f"{host}-{mark}" / name
