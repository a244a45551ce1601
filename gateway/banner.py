"""The lines that an operator sees once the server is ready."""

from collections.abc import Sequence

from gateway.config.config import EMBEDDED_MODEL, Config
from gateway.served.served_model import ServedModel

REAL_MODEL = "  real     forge-tiny shows that it works; forge pull offers real models that fit"
"""Line for servers whose only model is the embedded one."""
MOST_NAMED = 10
"""Adapters of a model that are named."""
CATALOG = "  catalog  every model that forge list shows, by its name"
"""Line for servers of the models in the caches."""


def banner(config: Config, served: Sequence[ServedModel], address: str, needs_key: bool) -> str:
    """Return the lines."""
    key = ' -H "Authorization: Bearer $KEY"' if needs_key else ""
    page = (f"  page     {address}/",) if config.page else ()
    models = _several(served) if served[0].on_demand else _one(served[0])
    if config.catalog:
        models = [*models, CATALOG]
    tiny = [each for each in served if each.config.model == EMBEDDED_MODEL]
    real = (REAL_MODEL,) if len(tiny) == len(served) else ()
    return "\n".join(
        (
            f"Forge is ready at {address}",
            *models,
            *page,
            f'  try      curl {address}/infer{key} -d \'{{"query": "what is 2+2?"}}\'',
            *real,
        )
    )


def _one(served: ServedModel) -> Sequence[str]:
    model = f"  model    {served.name}: {_described(served)}"
    return model, *_adapters(served), f"  workers  {_shape(served)}"


def _several(models: Sequence[ServedModel]) -> list[str]:
    """Return a line for each model; a model that is not loaded yet has no description."""
    widest = max(len(served.name) for served in models)
    lines = []
    for served in models:
        known = f"{_described(served)}; " if served.pool.model is not None else ""
        lines.append(f"  model    {served.name:<{widest}}  {served.state}: {known}{_shape(served)}")
        lines += _adapters(served)
    return lines


def _adapters(served: ServedModel) -> Sequence[str]:
    names = [each.name for each in served.adapters]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return [f"  adapters {', '.join(names[:MOST_NAMED])}{more}"] if names else []


def _described(served: ServedModel) -> str:
    model = served.pool.model
    assert model is not None, "it was loaded"
    size = f"{model.n_params / 1e6:.1f}M parameters, {model.size_bytes / 2**20:.1f} MiB"
    return f"{model.description}, {size}, {model.n_ctx_seq} tokens of context"


def _shape(served: ServedModel) -> str:
    shape, model = served.config.shape(), served.pool.model
    threads = f"{shape.threads} thread{'s' if shape.threads > 1 else ''}"
    cells = f", {model.n_ctx} KV cells each" if model is not None else ""
    return f"{shape.workers} x {shape.slots} slots x {threads}{cells}"
