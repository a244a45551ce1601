"""The files of a model on a node, brought there by the sources that the gateway was given.

They come as on the gateway, by the same process with the same checks, into the caches of the user
that Ray runs as: once for each node, since workers that start beside each other wait for the one
whose process is first at the file.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from functools import partial

import msgspec

from gateway.model_files.fetch_process import FetchLine, bring
from gateway.model_files.source import shown
from gateway.pool.cluster.control import FileComes, FileSources
from workers.protocol import WorkerSpec

NEWS_S = 1.0
"""Seconds between two words about a file."""
ACCESS = ("HF_ENDPOINT", "HF_TOKEN")
"""Variables of the access to the hub. A token is for its own endpoint, so both are of one side."""
HUB = "hf:"


class FilesMissing(Exception):
    """The reason why a file did not come, in one line."""


class NodeFiles:
    """The files of one model on this node."""

    def __init__(self, sources: FileSources) -> None:
        wanted = (sources.model, sources.mmproj)
        self._sources = list(dict.fromkeys(each for each in wanted if each is not None))
        self._wanted = sources
        self._paths: dict[str, str] = {}
        """By source, of what is there."""
        self._coming: asyncio.Task[FetchLine] | None = None

    @property
    def needs_access(self) -> bool:
        """Return whether the hub may have to be asked, and this node has no access of its own."""
        asked = any(each.startswith(HUB) for each in self._missing)
        return asked and not any(name in os.environ for name in ACCESS)

    @property
    def _missing(self) -> list[str]:
        there = {source for source, path in self._paths.items() if os.path.exists(path)}
        return [each for each in self._sources if each not in there]

    async def look(self) -> None:
        """Find what the hub's cache has of them, and ask no network."""
        for source in self._missing:
            if source.startswith(HUB):
                found = await bring(source, lambda line: None, {"HF_HUB_OFFLINE": "1"})
                if found.path:
                    self._paths[source] = found.path

    async def bring(self, access: Mapping[str, str]) -> AsyncIterator[FileComes]:
        """Get what is missing, and yield how far that is. Raises :class:`FilesMissing`.

        ``access``: the gateway's to the hub.
        """
        for source in self._missing:
            lent = access if source.startswith(HUB) else {}
            news = dict[str, FetchLine]()
            heard = partial(_note, news)
            task = self._coming = asyncio.create_task(bring(source, heard, lent))
            try:
                while not task.done():
                    await asyncio.wait({task}, timeout=NEWS_S)
                    newest = list(news.values())
                    news.clear()
                    for line in newest:
                        yield FileComes(line.name, line.done, line.total)
                self._paths[source] = self._path(source, task)
            finally:
                task.cancel()

    def stop(self) -> None:
        """End a download; what has come is kept."""
        if self._coming is not None:
            self._coming.cancel()

    def _path(self, source: str, task: asyncio.Task[FetchLine]) -> str:
        """Return the file that came. Raises FilesMissing."""
        if task.cancelled():
            raise FilesMissing("the worker was given up meanwhile")
        try:
            end = task.result()
        except (OSError, ValueError) as error:
            raise FilesMissing(
                f"no process for the download of {shown(source)}: {error}"
            ) from error
        if not end.path:
            raise FilesMissing(f"{shown(source)} can't be had: {end.error}")
        return end.path

    def placed(self, spec: WorkerSpec) -> WorkerSpec:
        """Return a spec with the files as they are called here; all of them are there."""
        model, mmproj = self._wanted.model, self._wanted.mmproj
        return msgspec.structs.replace(
            spec,
            model_path=spec.model_path if model is None else self._paths[model],
            mmproj=spec.mmproj if mmproj is None else self._paths[mmproj],
        )


def _note(news: dict[str, FetchLine], line: FetchLine) -> None:
    """Keep the newest line about each file."""
    if line.name:
        news[line.name] = line
