"""Changes to the models of this machine, as admins ask for them in Ollama's dialect."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

from starlette.requests import Request

from gateway.api.ollama import names
from gateway.api.service import Service
from gateway.config.config import ConfigError
from gateway.core.api_key import ApiKey
from gateway.core.errors import (
    BadRequest,
    FilesNotOwned,
    InternalError,
    ModelInUse,
    NameTaken,
    UnknownModel,
)
from gateway.model_files import catalog, ownership
from gateway.model_files.catalog import CatalogEntry
from gateway.model_files.source import BadSource, parse
from gateway.served.catalog_models import same_file
from gateway.served.listing import of_served
from gateway.served.served_model import ServedModel
from gateway.system import prefix_folders

MOST_TOLD = 200
"""Characters of a name that an error repeats."""


def source_of(asked: str) -> str | None:
    """Return what is to be downloaded; None for a name that is no source of a model.

    Raises BadRequest for a source that can't be meant so.
    """
    source = names.source(asked)
    if len(source) > names.MAX_NAME or not source.isprintable():
        return None
    try:
        return None if parse(source) is None else source
    except BadSource as error:
        raise BadRequest(f"'model': {error}", param="model") from error


def of_a_library(asked: str) -> UnknownModel:
    """Return the error for a name that only Ollama's library may have."""
    return UnknownModel(
        f"'{asked[:MOST_TOLD]}' is no model of the hub; Forge can't pull from Ollama's library: "
        "name a model in GGUF, as hf.co/ORG/REPO:QUANT, or its https address",
        param="model",
    )


class Management:
    """Deletes and names models."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._one = asyncio.Lock()
        """Held by a deletion: the files of another one are there, or they are gone."""

    async def delete(self, request: Request, asked: str) -> None:
        """Delete a copied name, or a model's files. Raises a ForgeError.

        Files go only if Forge has brought them into a cache, and while no model uses them.
        """
        async with self._one:
            await self._delete(request, asked)

    async def _delete(self, request: Request, asked: str) -> None:
        copied = self._copied(request, asked)
        if copied is not None:
            await asyncio.to_thread(self._service.registry.copies.remove, copied)
            return
        entry = await asyncio.to_thread(self._entry, request, asked)
        if entry is None:
            served = self._service.find(request, names.own_name(asked, self._service.registry))
            if served is None:
                raise self._service.unknown(request, asked)
            raise FilesNotOwned(f"the files of '{served.name}' are in no cache of Forge's")
        hidden = self._service.registry.named(entry.name)
        if hidden is not None and not same_file(hidden.config.model, entry.path):
            raise ModelInUse(
                f"'{entry.name}' is the name of a configured model; `forge rm` deletes the other"
            )
        hub = catalog.hub_cache()
        if not all(ownership.is_ours(file, hub) for file in entry.files):
            raise FilesNotOwned(
                f"'{entry.name}' was not downloaded by Forge, or by a version that did not note "
                "it; `forge rm` deletes it"
            )
        files = {file.resolve() for file in entry.files}
        further = self._service.catalog
        with contextlib.nullcontext() if further is None else further.leaving(files):
            self._free(request, entry, files)
            await asyncio.to_thread(_remove, entry)

    def _copied(self, request: Request, asked: str) -> str | None:
        """Return the copied name that is meant, if it leads to a model which the key may use."""
        key: ApiKey = request.state.key
        if len(asked) > names.MAX_NAME:
            return None
        there = [name for name, own in self._service.registry.copies.items() if key.may_use(own)]
        likely = list(dict.fromkeys(names.spellings(asked)))
        exact = next((each for each in likely if each in there), None)
        folded = {each.casefold() for each in likely}
        alike = [name for name in there if name.casefold() in folded]
        return alike[0] if exact is None and len(alike) == 1 else exact

    def _entry(self, request: Request, asked: str) -> CatalogEntry | None:
        """Return the model of the caches that is meant, if the request's key may use it."""
        key: ApiKey = request.state.key
        found = filter(None, map(catalog.named, names.spellings(asked)))
        return next((each for each in found if key.may_use(each.name)), None)

    def _free(self, request: Request, entry: CatalogEntry, files: set[Path]) -> None:
        """Let go of a model's files. Raises ModelInUse."""
        key: ApiKey = request.state.key
        for served in self._using(files):
            further = self._service.catalog
            if further is None or not further.forget(served):
                which = (
                    f"the model '{served.name}'" if key.may_use(served.name) else "another model"
                )
                state = "configured" if served.preload or further is None else served.state
                raise ModelInUse(
                    f"the files of '{entry.name}' are those of {which}, which is {state}; unload "
                    "it first"
                )

    def _using(self, files: set[Path]) -> Iterator[ServedModel]:
        for served in list(self._service.registry.models):
            if files & {file.resolve() for file in of_served(served).files}:
                yield served

    async def copy(self, request: Request, source: str, destination: str) -> None:
        """Give a model one name more, which survives the server.

        Raises a ForgeError, or OSError.
        """
        registry = self._service.registry
        served = self._service.find(request, names.own_name(source, registry))
        if served is None:
            raise self._service.unknown(request, source)
        name = names.plain(destination)
        if _means_a_source(destination):
            message = "'destination': names of files and of the hub's models have a meaning"
            raise BadRequest(message, param="destination")
        if self._taken(request, destination) or (
            await asyncio.to_thread(catalog.named, name) is not None
        ):
            raise NameTaken(f"'{name}' is the name of another model", param="destination")
        await asyncio.to_thread(registry.copies.add, name, served.name)

    def _taken(self, request: Request, destination: str) -> bool:
        """Tell if a name leads to a model by itself, or to one that the key may not use."""
        key: ApiKey = request.state.key
        registry = self._service.registry
        aliases = (each for own in registry.names for each in registry.configured_aliases(own))
        own_names = {each.casefold() for each in (*registry.names, *aliases)}
        if any(each.casefold() in own_names for each in names.spellings(destination)):
            return True
        had = registry.copies.find(names.plain(destination))
        return had is not None and not key.may_use(had)


def _means_a_source(name: str) -> bool:
    """Tell if a name is that of a file, or leads to a model of the hub in one of its spellings."""
    return "://" in name or any(each.startswith(("hf:", "/")) for each in names.spellings(name))


def _remove(entry: CatalogEntry) -> None:
    """Delete the files, and what was computed with them. Raises ForgeError."""
    contents = [file.resolve() for file in entry.files]
    folders = prefix_folders.of_model(entry.files)
    try:
        catalog.remove(entry)
    except ConfigError as error:
        raise InternalError(str(error)) from error
    for content in contents:
        ownership.disclaim(content)
    for folder in folders:
        prefix_folders.clear(folder)
