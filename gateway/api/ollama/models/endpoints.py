"""The endpoints about models. Lists are for every key, changes for those of admins."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from itertools import chain
from typing import TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.admin import check_admin
from gateway.api.endpoint import JSON, NDJSON, Body, Endpoint, Handler, Method
from gateway.api.infer import Problem
from gateway.api.ollama import names
from gateway.api.ollama.models import listing
from gateway.api.ollama.models.body import CopyBody, DeleteBody, PullBody, ShowBody
from gateway.api.ollama.models.facts import FileFacts, state_of
from gateway.api.ollama.models.management import Management, of_a_library, source_of
from gateway.api.ollama.models.pulling import SUCCESS, ProgressLines, progress
from gateway.api.ollama.models.types import (
    OllamaListed,
    OllamaProcesses,
    OllamaProgress,
    OllamaShown,
    OllamaTags,
)
from gateway.api.reply import json_response, unless_hung_up
from gateway.api.service import Service
from gateway.core.errors import (
    AdminOnly,
    FilesNotOwned,
    ForgeError,
    InternalError,
    ModelInUse,
    NameTaken,
    NotOffered,
    PullFailed,
    QueueFull,
    Unavailable,
    UnknownModel,
)
from gateway.model_files import gguf
from gateway.model_files.pulls import Pulls
from gateway.served.listing import of_served

GROUP = "Ollama"
TINY = {"model": "forge-tiny"}

Given = TypeVar("Given", bound=BaseModel)


class OllamaModels:
    """Lists of models, and their management."""

    def __init__(self, service: Service, pulls: Pulls, count: Callable[[ForgeError], None]) -> None:
        """``count`` is told of errors in streams."""
        self._service = service
        self._pulls = pulls
        self._count = count
        self._facts = FileFacts()
        self._management = Management(service)

    def endpoints(self) -> list[Endpoint]:
        return [
            _endpoint("/api/tags", self.ollama_tags, answer=OllamaTags),
            _endpoint("/api/ps", self.ollama_ps, answer=OllamaProcesses),
            _endpoint(
                "/api/show",
                self.ollama_show,
                "POST",
                Body(type=ShowBody, example=TINY),
                OllamaShown,
                (UnknownModel, Unavailable),
            ),
            Endpoint(
                path="/api/pull",
                handler=self.ollama_pull,
                method="POST",
                group=GROUP,
                body=Body(type=PullBody, example={**TINY, "stream": False}),
                answers={JSON: OllamaProgress, NDJSON: OllamaProgress},
                failure=Problem,
                fails=(AdminOnly, UnknownModel, QueueFull, Unavailable, PullFailed),
            ),
            _endpoint(
                "/api/delete",
                self.ollama_delete,
                "DELETE",
                Body(type=DeleteBody, example={"model": "hf.co/ORG/REPO:Q4_K_M"}),
                None,
                (AdminOnly, UnknownModel, FilesNotOwned, ModelInUse),
            ),
            _endpoint(
                "/api/copy",
                self.ollama_copy,
                "POST",
                Body(
                    type=CopyBody,
                    example={"source": "forge-tiny", "destination": "copy-of-tiny"},
                ),
                None,
                (AdminOnly, UnknownModel, NameTaken),
            ),
            _refused("/api/create", self.ollama_create, "POST"),
            _refused("/api/push", self.ollama_push, "POST"),
            _refused("/api/blobs/{digest}", self.ollama_blob_exists, "GET"),
            _refused("/api/blobs/{digest}", self.ollama_blob, "POST"),
        ]

    async def ollama_tags(self, request: Request) -> Response:
        """The models that are served, under each of their names; the newest files first."""
        registry, found = self._service.registry, list[OllamaListed]()
        for each in await self._service.listed(request):
            for name in (each.name, *registry.plain_aliases(each.name)):
                told = await listing.tag(each, name, self._facts, self._service.config)
                found += [] if told is None else [told]
        found.sort(key=lambda model: model["modified_at"], reverse=True)
        return json_response({"models": found})

    async def ollama_ps(self, request: Request) -> Response:
        """The models that are loaded."""
        found = [
            await listing.running(served, self._facts, listing.now())
            for served in self._service.models(request)
            if served.state == "loaded"
        ]
        return json_response({"models": [each for each in found if each is not None]})

    async def ollama_show(self, request: Request) -> Response:
        """One model: its metadata, abilities, template and parameters."""
        given = await self._read(request, ShowBody)
        asked = given.asked()
        registry = self._service.registry
        served = self._service.find(request, names.own_name(asked, registry))
        if served is None:
            raise self._service.unknown(request, asked)
        state = state_of(of_served(served.base).files)
        if state is None:
            raise Unavailable(f"the files of '{served.name}' are gone", retry_after=1)
        try:
            shown = listing.shown(served, asked, state, self._facts, verbose=bool(given.verbose))
            return json_response(await unless_hung_up(request.receive, shown))
        except gguf.Unreadable as error:
            raise Unavailable(f"the file of '{served.name}' can't be read") from error

    async def ollama_pull(self, request: Request) -> Response:
        """Download a model, for admins alone.

        A line tells whenever more of a file has come. A client that hangs up ends the download,
        unless another one follows it; the next goes on from there.
        """
        check_admin(request)
        given = await self._read(request, PullBody)
        asked, registry = given.asked(), self._service.registry
        source = source_of(asked)
        if source is None and names.own_name(asked, registry) not in self._known(request):
            raise of_a_library(asked)
        served = source is None or self._service.catalog is not None
        silence_s = self._service.config.keepalive
        lines = progress(self._pulls, source, silence_s, served=served)
        if given.stream is not False:
            return ProgressLines(lines, self._count)

        async def last() -> OllamaProgress:
            found = SUCCESS
            async with aclosing(lines):
                async for line in lines:
                    found = line
            return found

        return json_response(await unless_hung_up(request.receive, last()))

    async def ollama_delete(self, request: Request) -> Response:
        """Delete a model's files, or a name that was copied; for admins alone.

        Files go only if Forge has downloaded them, and only while their model is not loaded.
        """
        check_admin(request)
        given = await self._read(request, DeleteBody)
        await _kept(self._management.delete(request, given.asked()))
        return Response(status_code=200)

    async def ollama_copy(self, request: Request) -> Response:
        """Give a model one name more, for admins alone. It survives the server."""
        check_admin(request)
        given = await self._read(request, CopyBody)
        await _kept(self._management.copy(request, given.source, given.destination))
        return Response(status_code=200)

    async def ollama_create(self, request: Request) -> Response:
        """Refuse to make a model of others."""
        raise NotOffered(
            "Forge makes no models: give a served one a system prompt and sampling defaults in its "
            "table of the config file, or another name with /api/copy"
        )

    async def ollama_push(self, request: Request) -> Response:
        """Refuse to upload a model."""
        raise NotOffered("Forge uploads no models")

    async def ollama_blob(self, request: Request) -> Response:
        """Refuse a file of a model."""
        raise NotOffered("Forge takes no files of models: POST /api/pull downloads them")

    async def ollama_blob_exists(self, request: Request) -> Response:
        """Refuse to tell of a file of a model."""
        raise NotOffered("Forge takes no files of models: POST /api/pull downloads them")

    def _known(self, request: Request) -> set[str]:
        """Return all names of the models that a request's key may use."""
        own = [served.name for served in self._service.models(request)]
        aliases = map(self._service.registry.plain_aliases, own)
        return {*own, *chain.from_iterable(aliases)}

    async def _read(self, request: Request, type_: type[Given]) -> Given:
        raw, _ = await self._service.read(request)
        return self._service.parse_alone(request, type_, raw)


async def _kept(work: Awaitable[None]) -> None:
    """Do a change. Raises its ForgeError; what the disk refuses is one, too."""
    try:
        await work
    except OSError as error:
        raise InternalError(f"the change can't be made: {error.strerror}") from error


def _endpoint(
    path: str,
    handler: Handler,
    method: Method = "GET",
    body: Body | None = None,
    answer: object = None,
    fails: tuple[type[ForgeError], ...] = (),
) -> Endpoint:
    return Endpoint(
        path=path,
        handler=handler,
        method=method,
        group=GROUP,
        body=body,
        answers={} if answer is None else {JSON: answer},
        failure=Problem,
        fails=fails,
    )


def _refused(path: str, handler: Handler, method: Method) -> Endpoint:
    return Endpoint(
        path=path,
        handler=handler,
        method=method,
        group=GROUP,
        answers={},
        offered=False,
        failure=Problem,
        fails=(NotOffered,),
        parameters={"digest": "A content's hash."} if "{" in path else {},
    )
