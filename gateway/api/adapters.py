"""POST /v1/load_lora_adapter and /v1/unload_lora_adapter, as vLLM has them."""

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from gateway.api.admin import check_admin
from gateway.api.endpoint import Body, Endpoint, Handler
from gateway.api.openai.errors import ErrorBody
from gateway.api.reply import unless_hung_up
from gateway.api.service import Service
from gateway.core.errors import AdminOnly, NotFound, NotOffered, Unavailable, UnknownModel
from gateway.core.strict import STRICT
from gateway.served.adapter_changes import AdapterChanges

GROUP = "Models"
TEXT = "text/plain"


class LoadAdapterBody(BaseModel):
    model_config = STRICT

    lora_name: str = Field(min_length=1, max_length=256)
    """The name by which clients will ask for it, as for a model."""
    lora_path: str = Field(min_length=1, max_length=4096)
    """Its file, a GGUF in `--lora-dir`: from there on, or the whole path."""
    model: str | None = None
    """The id of the model that it is an adapter of; the first one if none is named."""


class UnloadAdapterBody(BaseModel):
    model_config = STRICT

    lora_name: str
    """The adapter's name."""
    lora_int_id: int | None = None
    """vLLM's number of it: it is not used."""


class AdapterEndpoints:
    """For admins; without keys, for requests from the server's own machine."""

    def __init__(self, service: Service, changes: AdapterChanges) -> None:
        self._service = service
        self._changes = changes

    def endpoints(self) -> list[Endpoint]:
        example = {"lora_name": "legal", "lora_path": "legal.gguf"}
        return [
            _post(
                "/v1/load_lora_adapter",
                self.load,
                Body(type=LoadAdapterBody, example=example),
                (UnknownModel, NotOffered, Unavailable),
            ),
            _post(
                "/v1/unload_lora_adapter",
                self.unload,
                Body(type=UnloadAdapterBody, example={"lora_name": "legal"}),
                (NotFound,),
            ),
        ]

    async def load(self, request: Request) -> Response:
        """Load a LoRA adapter, which is then a model of its own.

        The answer comes when every worker that is ready has it. It is gone after a restart of the
        server, unless its configuration names it.
        """
        check_admin(request)
        raw, _ = await self._service.read(request)
        given = self._service.parse_alone(request, LoadAdapterBody, raw)
        served = self._service.find(request, given.model)
        if served is None:
            raise self._service.unknown(request, given.model)
        self._service.check_open()
        name = given.lora_name
        work = self._changes.load(served.base, name, given.lora_path)
        await unless_hung_up(request.receive, work)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    async def unload(self, request: Request) -> Response:
        """Unload a LoRA adapter, whether an admin loaded it or the configuration names it.

        Requests that were accepted before go on to their end.
        """
        check_admin(request)
        raw, _ = await self._service.read(request)
        given = self._service.parse_alone(request, UnloadAdapterBody, raw)
        await self._changes.unload(given.lora_name)
        return PlainTextResponse(f"Success: LoRA adapter '{given.lora_name}' removed successfully.")


def _post(path: str, handler: Handler, body: Body, fails: tuple[type, ...]) -> Endpoint:
    return Endpoint(
        path=path,
        handler=handler,
        method="POST",
        group=GROUP,
        body=body,
        answers={TEXT: str},
        failure=ErrorBody,
        fails=(AdminOnly, *fails),
    )
