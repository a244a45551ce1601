"""POST /models/load and /models/unload, as llama-server's router has them.

Any key may still load and unload models; the next version leaves that to keys of admins.
"""

import logging
from collections.abc import Awaitable

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.admin import is_admin
from gateway.api.client import client_of
from gateway.api.endpoint import JSON, Body, Endpoint, Handler
from gateway.api.local import from_here
from gateway.api.openai.cards import model_card
from gateway.api.openai.errors import ErrorBody
from gateway.api.openai.types import ModelCard
from gateway.api.reply import json_response, unless_hung_up
from gateway.api.service import Service
from gateway.core.api_key import ANYONE, ApiKey
from gateway.core.errors import (
    DeadlineExceeded,
    LoopbackOnly,
    ModelInUse,
    ModelStays,
    QueueFull,
    Unavailable,
    UnknownModel,
)
from gateway.core.strict import STRICT
from gateway.served.listing import of_served
from gateway.served.served_model import ServedModel

log = logging.getLogger("forge.models")

GROUP = "Models"
WARNING = (
    '299 - "the next version loads and unloads models only for keys with admin = true '
    'in the key file"'
)
"""The header Warning of what a key does that will not be able to."""


class ModelBody(BaseModel):
    model_config = STRICT

    model: str
    """Its id."""


class Models:
    """For the operator: needs a key or, without keys, a request from the server's own machine."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        return [
            self._post("/models/load", self.load, (QueueFull, DeadlineExceeded)),
            self._post("/models/unload", self.unload, (ModelStays, ModelInUse)),
        ]

    def _post(self, path: str, handler: Handler, fails: tuple[type, ...]) -> Endpoint:
        return Endpoint(
            path=path,
            handler=handler,
            method="POST",
            group=GROUP,
            body=Body(type=ModelBody, example={"model": "forge-tiny"}),
            answers={JSON: ModelCard},
            failure=ErrorBody,
            fails=(UnknownModel, LoopbackOnly, Unavailable, *fails),
        )

    async def load(self, request: Request) -> Response:
        """Load a model.

        The answer comes when it is loaded; at once if it was. Models without work make room for it,
        and those with work as they would for a request of normal priority. After a load that failed
        an admin's request tries again at once; others wait out the pause.
        """
        served = await self._served(request)
        self._service.check_open()
        load = served.load(client_of(request), again=is_admin(request))
        return await self._done(request, served, load)

    async def unload(self, request: Request) -> Response:
        """Unload a model.

        The answer comes when it is unloaded. What it computes is finished first; a request that
        waits for it goes on waiting, and it is loaded again when it is their turn. Keys that are no
        admin's unload only what no other client uses.
        """
        served = await self._served(request)
        unload = served.unload(None if is_admin(request) else client_of(request))
        return await self._done(request, served, unload)

    async def _served(self, request: Request) -> ServedModel:
        """The model that is meant, if the client may."""
        if request.state.key is ANYONE and not from_here(request):
            message = "without API keys models are loaded and unloaded from the server's own "
            raise LoopbackOnly(message + "machine alone; --api-key opens this to others")
        raw, _ = await self._service.read(request)
        served, _ = self._service.parse(request, ModelBody, raw)
        return served

    async def _done(self, request: Request, served: ServedModel, work: Awaitable[None]) -> Response:
        await unless_hung_up(request.receive, work)
        response = json_response(model_card(of_served(served), self._service.started))
        if not is_admin(request):
            key: ApiKey = request.state.key
            log.warning(
                "the key %r has used %s, which the next version leaves to keys with admin = true",
                key.name,
                request.scope["path"],
            )
            response.headers["Warning"] = WARNING
        return response
