"""``[models.NAME]`` in the config file: several models, each with options of its own.

NAME is what clients say. A table may hold every option of :class:`gateway.config.config.Config`
that is about a model; what it does not say is as it is said for all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from gateway.config import sampling_defaults
from gateway.config.config import MIB, Config, ConfigError
from gateway.config.model_entry import ModelEntry
from gateway.config.sampling_defaults import SamplingCheck
from gateway.config.sources import obtained, said, sampling_parts, validated
from gateway.core.errors import BadRequest
from gateway.core.strict import STRICT
from gateway.core.validation import explain, shown

OF_THE_SERVER = frozenset({
    "alias", "host", "port", "memory_budget", "aging_rate", "max_queue", "max_queue_bytes",
    "queue_timeout", "preempt", "quantum", "max_body", "max_connections", "header_timeout",
    "body_timeout", "idle_timeout", "keepalive", "drain_timeout", "retire_timeout",
    "api_key", "api_key_file",
    "ssl_keyfile", "ssl_certfile", "cors_origin", "metrics", "llamacpp_metrics", "page",
    "log_level", "log_format", "log_prompts", "spare", "header_priority", "catalog",
    "cluster",
    "store_bytes", "store_age", "data_dir", "database", "max_file", "max_stored_bytes",
    "lora_dir", "max_media", "media_number", "media_hosts",
})  # fmt: skip
"""Options that are one for all models; the others are per model."""
PER_MODEL = tuple(name for name in Config.model_fields if name not in OF_THE_SERVER)

OF_ONE = ("model", "alias", "adapters", "lora", "lora_scaled")
"""Options of one model that are not for all, if they are said beside tables."""
OWN = ("aliases", "preload", "system")
"""The keys that a table may have beside options."""

CATALOG_SHARES = 4
"""An automatic --cache-ram is divided by this among models whose number is unknown."""
Alias = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,256}$")]


class _Own(BaseModel):
    model_config = STRICT

    aliases: Annotated[list[Alias], Field(max_length=256)] = []
    preload: bool = False
    system: str | None = None


def load(
    arguments: Mapping[str, Any],
    environment: Mapping[str, str],
    file: Path | None,
    check_sampling: SamplingCheck,
    obtain: Callable[[str], Path] = Path,
) -> tuple[Config, list[ModelEntry]]:
    """The server's configuration, and its models if the file has tables of them.

    As :func:`gateway.config.sources.load`. A model that is given beside the tables is one more, the
    first, and there from the start. ``check_sampling`` looks at a model's defaults as at a
    request's fields. Raises :class:`ConfigError`.
    """
    values, origin = said(arguments, environment, file)
    tables = values.pop("models", None)
    server = validated(values, origin)
    _check_defaults(server, origin, check_sampling)
    if tables is None or file is None:
        return obtained(server, values, origin, obtain), []
    drafts = [
        *_beside(values, origin, server),
        *_drafts(tables, values, origin, file, check_sampling),
    ]
    names = [draft.config.model_name for draft in drafts]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{origin['model']}: '{name}' is a model of {file}, too")
    # Everything else is right: now for what may take hours.
    entries = [draft.entry(obtain) for draft in drafts]
    return server, _beside_others(entries, CATALOG_SHARES if server.catalog else 0)


class _Draft:
    """A model whose file may not be here yet."""

    def __init__(
        self, values: dict[str, Any], origin: Mapping[str, str], config: Config, own: _Own
    ) -> None:
        self._values = values
        self._origin = origin
        self._own = own
        self.config = config

    def entry(self, obtain: Callable[[str], Path]) -> ModelEntry:
        config = obtained(self.config, self._values, self._origin, obtain)
        keep = config.keep_alive
        return ModelEntry(
            config,
            preload=self._own.preload,
            keep_alive=keep if keep >= 0 else None,
            system=self._own.system,
            aliases=tuple(self._own.aliases),
        )


def _beside(values: dict[str, Any], origin: dict[str, str], config: Config) -> list[_Draft]:
    """The model that is given for all, if one is."""
    if "model" in values:
        if config.alias is None:
            name = config.model_copy(update={"model": Path(str(values["model"]))}).model_name
            values = {**values, "alias": name}
        return [_Draft(values, origin, validated(values, origin), _Own(preload=True))]
    if "alias" in values:
        raise ConfigError(f"{origin['alias']}: models are called what their tables are called")
    if "mmproj" in values and values["mmproj"] not in ("auto", "none"):
        raise ConfigError(f"{origin['mmproj']}: a projector is one model's: say it in its table")
    for name in OF_ONE:
        if name in values:
            raise ConfigError(f"{origin[name]}: an adapter is one model's: say it in its table")
    return []


def _drafts(
    tables: Any,
    values: Mapping[str, Any],
    origin: Mapping[str, str],
    file: Path,
    check_sampling: SamplingCheck,
) -> list[_Draft]:
    whole = isinstance(tables, dict) and all(isinstance(each, dict) for each in tables.values())
    if not whole or not tables:
        raise ConfigError(f"models in {file}: expected tables such as [models.NAME]")
    shared = {name: value for name, value in values.items() if name not in OF_ONE}
    return [
        _draft(name, table, shared, origin, file, check_sampling) for name, table in tables.items()
    ]


def _draft(
    name: str,
    table: Mapping[str, Any],
    shared: Mapping[str, Any],
    origin: Mapping[str, str],
    file: Path,
    check_sampling: SamplingCheck,
) -> _Draft:
    at = f"models.{name if name.isprintable() else repr(name)}"
    if not name:
        raise ConfigError(f"{at} in {file}: the name is empty")
    options, own, places = dict[str, Any](), dict[str, Any](), dict[str, str]()
    for key, value in table.items():
        field = key.replace("-", "_")
        places[field] = f"{at}.{key if key.isprintable() else repr(key)} in {file}"
        if field in OWN:
            own[field] = value
        elif field in PER_MODEL:
            options[field] = value
        elif field in Config.model_fields:
            raise ConfigError(f"{places[field]}: this option is one for all models")
        else:
            raise ConfigError(f"{places[field]}: there is no such option")
    if "model" not in options:
        raise ConfigError(f"{at} in {file}: there is no 'model' in it")
    if "sampling" in options and "sampling" in shared:
        options["sampling"] = sampling_parts(shared["sampling"], options["sampling"])
    values = {**shared, **options, "alias": name}
    origins = {**origin, **places}
    config = validated(values, origins)
    _check_defaults(config, origins, check_sampling)
    return _Draft(values, origins, config, _own(own, places))


def _own(given: Mapping[str, Any], places: Mapping[str, str]) -> _Own:
    try:
        return _Own.model_validate(given)
    except ValidationError as error:
        problem = explain(error, given)
        raise ConfigError(
            f"{places[problem.path[0]]}: {problem.reason}, not {shown(problem.value)}"
        ) from None


def _check_defaults(config: Config, origin: Mapping[str, str], check: SamplingCheck) -> None:
    """Raises :class:`ConfigError` for defaults that no request could have."""
    if not config.sampling:
        return
    try:
        sampling_defaults.check(dict(config.sampling), check)
    except BadRequest as error:
        at, of, file = origin["sampling"].partition(" in ")
        raise ConfigError(f"{at}.{error.param}{of}{file}: {error.message}") from None


def _beside_others(entries: Sequence[ModelEntry], least: int) -> list[ModelEntry]:
    """An automatic --cache-ram is for all models together, and none has a spare process.

    One for each would take more memory than a small model. ``least``: the shares of that memory,
    at least.
    """
    share = Config().cache_bytes() // max(len(entries), least) // MIB
    found = list[ModelEntry]()
    for entry in entries:
        ram = share if entry.config.cache_ram == "auto" else entry.config.cache_ram
        config = entry.config.model_copy(update={"cache_ram": ram, "spare": False})
        found.append(replace(entry, config=config))
    return found
