"""The dialect's endpoints that tell of the server, and those for what Forge does in another way."""

import re
from typing import Any, NoReturn

import msgspec
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from gateway import __version__
from gateway.api import body
from gateway.api.abilities import abilities, senses
from gateway.api.client import client_of
from gateway.api.endpoint import JSON, Endpoint, Handler
from gateway.api.llama_server import settings
from gateway.api.llama_server.body import TEMPERATURE, LlamaCompletionBody
from gateway.api.llama_server.endpoints import GROUP
from gateway.api.llama_server.types import LlamaError, Props, Slot
from gateway.api.ops import Health
from gateway.api.query import read_query
from gateway.api.reply import json_response, unless_hung_up
from gateway.api.service import Service
from gateway.core.errors import (
    NotOffered,
    QueueFull,
    Unavailable,
    UnknownModel,
    WorkerFailed,
)
from gateway.dispatch.sequence import Sequence
from gateway.served.served_model import ServedModel
from workers.protocol import Detokenize, GenerationParams

MEDIA_MARKER = "<__media__>"
"""Stands for an image in a prompt, where there are images."""
CAPABILITIES = (
    "supports_object_arguments",
    "supports_parallel_tool_calls",
    "supports_preserve_reasoning",
    "supports_reasoning_effort",
    "supports_string_content",
    "supports_system_role",
    "supports_tool_calls",
    "supports_tools",
    "supports_typed_content",
)
"""Abilities of chats: all of them, for what a template does not know is written in another way."""
RANDOM = 2**32 - 1
"""llama-server's word for a seed that is drawn."""
KIND = re.compile(r"\S+ (?:\d\S* )?(.+)")
"""The description of a model: architecture, size, and the type of its weights."""


class PropsQuery(BaseModel):
    model_config = ConfigDict(extra="ignore")

    model: str | None = None
    """The model's id; the first one if none is named."""


class SlotsQuery(PropsQuery):
    fail_on_no_slot: str | None = None
    """Anything: 503 while all slots are in use."""


class LlamaState:
    """Properties, slots, and refusals."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        return [
            _endpoint("/v1/health", self.health_again, Health, fails=(Unavailable,), open=True),
            _endpoint(
                "/props",
                self.props,
                Props,
                query=PropsQuery,
                fails=(UnknownModel, QueueFull, Unavailable, WorkerFailed),
            ),
            _endpoint("/props", self.change_props, Props, method="POST", fails=(NotOffered,)),
            _endpoint(
                "/slots",
                self.slots,
                list[Slot],
                query=SlotsQuery,
                fails=(UnknownModel, Unavailable),
            ),
            _endpoint(
                "/slots/{id}",
                self.change_slot,
                Slot,
                method="POST",
                fails=(NotOffered,),
                parameters={"id": "A slot's number."},
            ),
        ]

    async def health_again(self, request: Request) -> Response:
        """Tell if requests are served.

        Needs no API key.
        """
        self._service.check_healthy()
        answer: Health = {"status": "ok"}
        return json_response(answer)

    async def props(self, request: Request) -> Response:
        """Return the properties of a model and of the server, as llama-server's.

        A model that was never loaded is loaded first.
        """
        served = self._served(request, read_query(request, PropsQuery).model)
        if served.pool.model is None:
            await unless_hung_up(request.receive, served.ask(Detokenize([]), client_of(request)))
        return json_response(self._props(served))

    async def slots(self, request: Request) -> Response:
        """Return the slots of a model's workers: what goes on in them, without any text."""
        query = read_query(request, SlotsQuery)
        found = slots(self._served(request, query.model))
        if query.fail_on_no_slot and all(slot["is_processing"] for slot in found):
            raise Unavailable("no slot is free", retry_after=1)
        return json_response(found)

    async def change_props(self, request: Request) -> NoReturn:
        """Refuse to change properties."""
        raise NotOffered("properties are set by options, when the server starts")

    async def change_slot(self, request: Request) -> NoReturn:
        """Refuse to save, restore or erase a slot.

        Prefixes are kept and found by themselves, on disk with `--cache-disk`.
        """
        raise NotOffered(
            "slots are not saved, restored or erased by hand: prompts that begin like earlier ones "
            "find what was computed, on any worker, and --cache-disk keeps it on disk"
        )

    def _served(self, request: Request, name: str | None) -> ServedModel:
        served = self._service.find(request, name)
        if served is None:
            raise self._service.unknown(request, name)
        return served

    def _props(self, served: ServedModel) -> Props:
        model, config, usual = served.pool.model, served.config, _usual(served)
        able = senses(served)
        return {
            "default_generation_settings": {
                "params": settings.common(usual.sampling, usual, stream=False, per_token=False),
                "n_ctx": 0 if model is None else model.n_ctx_seq,
            },
            "total_slots": sum(worker.slots for worker in served.workers()),
            "model_alias": served.name,
            "model_ftype": "" if model is None else _file_type(model.description),
            "model_path": config.model.name,
            "modalities": {
                "vision": "image" in able,
                "video": False,
                "audio": "audio" in able,
            },
            "abilities": None if model is None else abilities(model),
            "media_marker": MEDIA_MARKER,
            "endpoint_slots": True,
            "endpoint_props": False,
            "endpoint_metrics": config.metrics,
            "ui": config.page,
            "ui_settings": {},
            "chat_template": "" if model is None else model.chat_template,
            "chat_template_caps": dict.fromkeys(CAPABILITIES, True),
            "bos_token": "" if model is None else model.bos_token,
            "eos_token": "" if model is None else model.eos_token,
            "build_info": f"forge-{__version__}",
            "is_sleeping": served.state == "unloaded",
            "cors_proxy_enabled": False,
        }


def _usual(served: ServedModel) -> GenerationParams:
    """Return the parameters of a request that says nothing but its prompt."""
    said = body.parse(LlamaCompletionBody, {"prompt": ""}, defaults=served.completed)
    sampling = said.sampling(temperature=TEMPERATURE)
    if said.seed in (None, -1):
        sampling = msgspec.structs.replace(sampling, seed=RANDOM)
    return GenerationParams(sampling, max_tokens=said.limit())


def _file_type(description: str) -> str:
    """Return the type of the weights, as llama.cpp calls it."""
    found = KIND.fullmatch(description)
    return "" if found is None else found[1]


def slots(served: ServedModel) -> list[Slot]:
    """Return the slots of all workers of a model, numbered from 0."""
    model = served.pool.model
    running = {each.id: each for one in served.dispatchers for each in one.stats.served()}
    found: list[Slot] = []
    for worker in served.workers():
        held = [running.get(id_) for id_ in worker.held]
        for at in range(worker.slots):
            slot: Slot = {
                "id": len(found),
                "n_ctx": 0 if model is None else model.n_ctx_seq,
                "speculative": served.config.speculative != "off",
                "is_processing": at < worker.busy,
            }
            sequence = held[at] if at < len(held) else None
            if sequence is not None:
                _work(slot, sequence)
            found.append(slot)
    return found


def _work(slot: Slot, sequence: Sequence) -> None:
    """Add what is done in a slot."""
    started, limit = sequence.started, sequence.job.params.max_tokens
    prompt, cached = (0, 0) if started is None else (started.prompt_tokens, started.cached_tokens)
    decoded = len(sequence.ids)
    slot["id_task"] = sequence.id
    slot["n_prompt_tokens"] = prompt
    slot["n_prompt_tokens_processed"] = prompt - cached
    slot["n_prompt_tokens_cache"] = cached
    remain = -1 if limit is None else max(0, limit - decoded)
    slot["next_token"] = [
        {
            "has_next_token": True,
            "has_new_line": False,
            "n_remain": remain,
            "n_decoded": decoded,
        }
    ]


def _endpoint(path: str, handler: Handler, answer: Any, **more: Any) -> Endpoint:
    return Endpoint(
        path=path,
        handler=handler,
        group=GROUP,
        answers={JSON: answer},
        failure=LlamaError,
        **more,
    )
