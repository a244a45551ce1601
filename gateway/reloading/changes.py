"""The differences between what a server runs with and what its sources say now.

An option is of the server, or of a model. Of the server's some are looked at with each request, and
count at once; the others were built into something at the start, and are named: they need a
restart. A model's own are in its workers, which are replaced then, or are looked at with each
request, too: its workers stay.

An example: the file now says port 9000, max-body 1 MiB, ctx 8192 for all models, and of model a
another temperature. The port needs a restart and stays as it is; max-body counts from the next
request on; the models get new workers, a with the temperature in the same step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.config.config import Config
from gateway.config.model_entry import ModelEntry
from gateway.config.model_tables import OF_THE_SERVER

LIVE = frozenset({
    "max_body", "body_timeout", "keepalive", "header_priority", "unknown_parameters",
    "ollama_version", "max_stored_bytes", "max_queue", "max_queue_bytes", "drain_timeout",
    "retire_timeout", "max_media", "media_number", "media_hosts",
})  # fmt: skip
"""Options of the server that count from the next request on."""
ELSEWHERE = frozenset({"api_key", "api_key_file", "alias", "models", "model", "sampling"})
"""Options that are no value of the server's to compare: keys, and names and files of models."""
SHARED = frozenset({"unknown_parameters", "ollama_version"})
"""Options of :data:`LIVE` that a table may say of its model, where nothing looks at them."""


@dataclass(frozen=True, slots=True)
class ServerChanges:
    """Of the server's options."""

    config: Config
    """With all that may change, and the old values of what needs a restart."""
    live: tuple[str, ...]
    """Names of options that count now."""
    restart: tuple[str, ...]
    """Names of those that need a restart."""


def of_server(old: Config, new: Config) -> ServerChanges:
    """Compare two configurations, without what is of models."""
    names = [name for name in (*OF_THE_SERVER, *sorted(SHARED)) if name not in ELSEWHERE]
    different = sorted({name for name in names if getattr(old, name) != getattr(new, name)})
    restart = [name for name in different if name not in LIVE]
    kept = {name: getattr(old, name) for name in restart}
    shown = [[name.replace("_", "-") for name in group] for group in (different, restart)]
    live = tuple(name for name in shown[0] if name not in shown[1])
    return ServerChanges(new.model_copy(update=kept), live, tuple(shown[1]))


def settled(entry: ModelEntry, server: Config) -> ModelEntry:
    """Return a model's entry with the server's options as they are now."""
    options = {name: getattr(server, name) for name in OF_THE_SERVER if name != "alias"}
    own = {"spare": entry.config.spare}  # none of several models has one
    return replace(entry, config=entry.config.model_copy(update=options | own))


@dataclass(frozen=True, slots=True)
class ModelChanges:
    """Of the models, by their names."""

    added: tuple[ModelEntry, ...]
    retired: tuple[str, ...]
    kept: tuple[ModelEntry, ...]


def of_models(
    old: Sequence[str], new: Sequence[ModelEntry], only: str | None = None
) -> ModelChanges:
    """Compare names; ``only``: leave all models but this one as they are."""
    wanted = [entry for entry in new if only in (None, entry.name)]
    gone = [name for name in old if name not in {entry.name for entry in new}]
    return ModelChanges(
        tuple(entry for entry in wanted if entry.name not in old),
        tuple(name for name in gone if only in (None, name)),
        tuple(entry for entry in wanted if entry.name in old),
    )
