"""GET and POST /lora-adapters: the LoRA adapters of a model, and those that all requests have."""

from pathlib import Path
from typing import NotRequired

from pydantic import RootModel
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from gateway.api import body, json_body
from gateway.api.admin import check_admin
from gateway.api.endpoint import JSON, Body, Endpoint
from gateway.api.llama_server.endpoints import GROUP
from gateway.api.llama_server.state import PropsQuery
from gateway.api.llama_server.types import LlamaError
from gateway.api.lora import LoraScales, scales
from gateway.api.query import read_query
from gateway.api.reply import json_response
from gateway.api.service import Service
from gateway.core.api_key import ApiKey
from gateway.core.errors import AdminOnly, UnknownModel
from gateway.served.adapters import Adapter
from gateway.served.served_model import ServedModel


class LoraAdapter(TypedDict):
    """An adapter, in llama-server's words."""

    id: int
    name: str
    """The name by which it is a model of its own: Forge's field."""
    path: str
    """The name of its file."""
    scale: float
    """Its scale in requests that say nothing of adapters."""
    task_name: str
    prompt_prefix: str
    alora_invocation_tokens: NotRequired[list[int]]
    """Of an activated adapter: from their last occurrence in a prompt on it counts."""


class LoraChanged(TypedDict):
    success: bool


class Scales(RootModel[LoraScales]):
    """All adapters that requests have which say nothing of them; others get the scale 0."""


class LoraAdapters:
    """The adapters of the first model, or of the one that the query names."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                path="/lora-adapters",
                handler=self.adapters,
                group=GROUP,
                answers={JSON: list[LoraAdapter]},
                failure=LlamaError,
                query=PropsQuery,
                fails=(UnknownModel,),
            ),
            Endpoint(
                path="/lora-adapters",
                handler=self.change,
                method="POST",
                group=GROUP,
                body=Body(type=Scales, example=[]),
                answers={JSON: LoraChanged},
                failure=LlamaError,
                query=PropsQuery,
                fails=(UnknownModel, AdminOnly),
            ),
        ]

    async def adapters(self, request: Request) -> Response:
        """Return a model's LoRA adapters, and the scale that each has where a request says none."""
        served = self._served(request)
        key: ApiKey = request.state.key
        found = [_told(each) for each in served.adapters if key.may_use(each.name)]
        return json_response(found)

    async def change(self, request: Request) -> Response:
        """Change the scales of adapters in requests that say none.

        For admins: requests of all keys are computed with them from then on.
        """
        check_admin(request)
        served = self._served(request)
        config = self._service.config
        value, _ = await json_body.read_value(request, config.max_body, config.body_timeout)
        given = body.parse_list(Scales, value)
        wanted = scales(given.root)
        key: ApiKey = request.state.key
        served.adapters.asked(wanted, key.may_use, ())
        served.adapters.scale(wanted)
        return json_response({"success": True})

    def _served(self, request: Request) -> ServedModel:
        name = read_query(request, PropsQuery).model
        served = self._service.find(request, name)
        if served is None:
            raise self._service.unknown(request, name)
        return served.base


def _told(adapter: Adapter) -> LoraAdapter:
    facts = adapter.opened.facts
    found: LoraAdapter = {
        "id": adapter.id,
        "name": adapter.name,
        "path": Path(adapter.opened.file.shown).name,
        "scale": adapter.usual,
        "task_name": facts.task_name,
        "prompt_prefix": facts.prompt_prefix,
    }
    if facts.invocation:
        found["alora_invocation_tokens"] = list(facts.invocation)
    return found
