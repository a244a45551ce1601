"""The description of a model."""

from datetime import UTC, datetime

from gateway.api.abilities import abilities
from gateway.api.openai.types import ModelCard, ModelMeta
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
        "type": "model",
        "display_name": name,
        "created_at": datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_input_tokens": context,
        "max_tokens": context,
    }


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
