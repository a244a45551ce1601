"""Descriptions of models for Ollama's clients: lists, processes, and one model whole."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson

from gateway.api.abilities import senses
from gateway.api.ollama import names
from gateway.api.ollama.models.facts import (
    Brief,
    FileFacts,
    FileState,
    ModelFacts,
    metadata,
    state_of,
)
from gateway.api.ollama.models.types import (
    Capability,
    OllamaDetails,
    OllamaListed,
    OllamaRunning,
    OllamaShown,
    OllamaTensor,
)
from gateway.config.config import Config
from gateway.conversation import BLIND, Senses
from gateway.model_files import gguf, gpu_probe
from gateway.served.listing import ListedModel, of_served
from gateway.served.served_model import ServedModel

FOREVER = timedelta(days=365 * 292)
"""Ollama's own: a client adds nothing to it, and Python's years end at 9999."""
USUAL_CELLS = 4096
"""KV cells of a slot with --ctx auto, where the model has so many."""
SUFFIX = "{#- .Suffix: the model fills in the middle -#}"
"""A comment by which clients know that, where they look for the variable of Ollama's templates."""
OPTIONS = {"max_tokens": "num_predict"}
"""Names of a model's sampling defaults that are others in Ollama."""


async def tag(
    listed: ListedModel, name: str, facts: FileFacts, server: Config
) -> OllamaListed | None:
    """Return a model under one of its names; None if its files are gone.

    ``server``: the options of models that are not served yet.
    """
    state = await asyncio.to_thread(state_of, listed.files)
    if state is None:
        return None
    shown = names.shown(name)
    whole: FileState = state
    if listed.served is not None and listed.parent is not None:
        # An adapter's file says little of what answers.
        base = of_served(listed.served.base)
        found = await asyncio.to_thread(state_of, base.files)
        whole = state if found is None else found
    return {
        "name": shown,
        "model": shown,
        "modified_at": state.modified_at,
        "size": state.size,
        "digest": state.digest,
        "details": details(await facts.brief(whole), listed, server),
    }


def details(brief: Brief, listed: ListedModel, server: Config) -> OllamaDetails:
    """Return a model in a few words."""
    found: OllamaDetails = {
        "parent_model": "" if listed.parent is None else names.shown(listed.parent),
        "format": "gguf",
        "family": brief.family,
        "families": [brief.family] if brief.family else [],
        "parameter_size": brief.parameters,
        "quantization_level": brief.quantisation,
    }
    if brief.context:
        found["context_length"] = context_here(listed, brief.context, server)
    if brief.width:
        found["embedding_length"] = brief.width
    return found


def context_here(listed: ListedModel, trained: int, server: Config) -> int:
    """Return the tokens that one request may have: those that the model was made for, or fewer."""
    if listed.info is not None:
        return listed.info.n_ctx_seq
    config = server if listed.served is None else listed.served.config
    slots = config.shape().slots
    cells = slots * min(trained, USUAL_CELLS) if config.ctx == "auto" else config.ctx
    return min(trained, cells)


async def running(served: ServedModel, facts: FileFacts, now: datetime) -> OllamaRunning | None:
    """Return a model that is loaded; None if its files are gone."""
    listed = of_served(served)
    told = await tag(listed, served.name, facts, served.config)
    info = served.pool.model
    if told is None or info is None:
        return None
    left_s, size = served.expires_s, served.need or info.size_bytes
    expires = now + (FOREVER if left_s is None else timedelta(seconds=left_s))
    config, layers = served.config, 0
    if await asyncio.to_thread(gpu_probe.takes_layers, config.n_gpu_layers):
        layers = config.n_gpu_layers
    return {
        "name": told["name"],
        "model": told["model"],
        "size": size,
        "digest": told["digest"],
        "details": told["details"],
        "expires_at": expires.isoformat().replace("+00:00", "Z"),
        "size_vram": size if layers else 0,
        "context_length": info.n_ctx_seq,
    }


def now() -> datetime:
    return datetime.now(UTC)


async def shown(
    served: ServedModel, name: str, state: FileState, facts: FileFacts, *, verbose: bool
) -> OllamaShown:
    """Return all that is known of a model. Raises gguf.Unreadable."""
    listed, template = of_served(served), served.config.template_source()
    brief, found = await facts.brief(state), await facts.all_of(state, template)
    told, info = found.told, found.metadata
    tensors: list[OllamaTensor] = []
    if verbose:
        info, tensors = await facts.alone(partial(_whole, state))
    context = context_here(listed, told["context"], served.config)
    parameters = _parameters(context, served.sampling)
    jinja = (told["chat_template"] or "") + (SUFFIX if told["supports"]["infill"] else "")
    answer: OllamaShown = {
        "modelfile": _modelfile(name, parameters, served.system, listed),
        "parameters": parameters,
        "template": jinja,
        "license": str(told["license"] or ""),
        "details": details(brief, listed, served.config),
        "model_info": {**info, f"{told['architecture']}.context_length": context},
        "capabilities": capabilities(found, senses(served)),
        "modified_at": state.modified_at,
    }
    if served.system is not None:
        answer["system"] = served.system
    if verbose:
        answer["tensors"] = tensors
    return answer


def _whole(state: FileState) -> tuple[dict[str, Any], list[OllamaTensor]]:
    model = gguf.read(state.files[0])
    tensors: list[OllamaTensor] = [
        {"name": each.name, "type": each.type.name, "shape": list(each.shape)}
        for each in model.tensors
    ]
    return metadata(model, verbose=True), tensors


def capabilities(facts: ModelFacts, able: Senses = BLIND) -> list[Capability]:
    """Return what the model can do, by Ollama's words: one that generates is for that first."""
    can = facts.told["supports"]
    found: list[Capability] = []
    if can["chat"] or facts.told["chat_template_error"] is not None:
        found.append("completion")
        found += ["tools"] if can["tools"] else []
        found += ["insert"] if can["infill"] else []
        found += ["thinking"] if can["reasoning"] else []
        found += ["vision"] if "image" in able else []
        found += ["audio"] if "audio" in able else []
    elif can["embeddings"]:
        found.append("embedding")
    return found


def _parameters(context: int, sampling: Mapping[str, Any]) -> str:
    """Return a line for each parameter, its value as JSON has it."""
    lines = [("num_ctx", context)]
    for name, value in sampling.items():
        many: Sequence[Any] = value if isinstance(value, list) else [value]
        lines += [(OPTIONS.get(name, name), each) for each in many]
    return "\n".join(f"{name:<30} {orjson.dumps(value).decode()}" for name, value in lines)


def _modelfile(name: str, parameters: str, system: str | None, listed: ListedModel) -> str:
    lines = ["# Made by Forge, which reads no such files.", f"FROM {listed.parent or name}"]
    lines += [] if listed.parent is None else [f"ADAPTER {listed.files[0].name}"]
    lines += [f"PARAMETER {line}" for line in parameters.splitlines()]
    lines += [] if system is None else [f"SYSTEM {orjson.dumps(system).decode()}"]
    return "\n".join(lines)
