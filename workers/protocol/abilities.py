"""The words about a model that is asked for what it can't do. Pure."""

from workers.protocol.params import GenerationParams


def refusal(
    name: str, params: GenerationParams, *, generates: bool, embeds: bool, ranks: bool
) -> str | None:
    """Return why the model of that name, which does so, can't serve a request; None if it can."""
    does = "ranks texts" if ranks else "generates text" if generates else "embeds"
    if params.ranking is not None:
        return None if ranks else f"{name} {does} and does not rank"
    if params.embedding is not None:
        return None if embeds else f"{name} {does} and gives no embeddings"
    return None if generates else f"{name} {does} and does not generate text"
