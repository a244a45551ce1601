"""The description of a model."""

from datetime import UTC, datetime

from gateway.api.abilities import abilities, architecture, senses_of
from gateway.api.openai.types import BriefCard, Capability, ModelCard, ModelMeta
from gateway.served.listing import ListedModel
from workers.protocol import ModelInfo


def model_card(listed: ListedModel, created: int, alias: str | None = None) -> ModelCard:
    """``created`` in Unix seconds; ``alias``: another name of it."""
    name = alias or listed.name
    model = listed.info
    context = None if model is None else model.n_ctx_seq
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "forge",
        "state": listed.state,
        "meta": None if model is None else _meta(model),
        "root": listed.files[0].name.encode("utf-8", "replace").decode(),
        "parent": listed.parent,
        "architecture": architecture(senses_of(listed.served)),
        "type": "model",
        "display_name": name,
        "created_at": datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_input_tokens": context,
        "max_tokens": context,
    }


def brief_card(listed: ListedModel, name: str) -> BriefCard:
    """Return a model as llama-server lists it, under one of its names."""
    model, able = listed.info, senses_of(listed.served)
    generates = model is None or model.generates
    can: list[Capability] = ["completion" if generates else "embedding"]
    if able:
        can.append("multimodal")
    return {"name": name, "model": name, "type": "model", "capabilities": can}


def _meta(model: ModelInfo) -> ModelMeta:
    return {
        "description": model.description,
        "n_params": model.n_params,
        "size": model.size_bytes,
        "n_vocab": model.n_vocab,
        "n_embd": model.n_embd,
        "n_ctx_train": model.n_ctx_train,
        "n_ctx": model.n_ctx_seq,
        "abilities": abilities(model),
    }
