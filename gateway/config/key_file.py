"""The keys that the operator names: ``--api-key``, and the ``[[key]]`` tables of a file."""

import hashlib
import logging
import math
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, SecretStr, ValidationError

from gateway.config.config import ConfigError
from gateway.config.option_types import Secret
from gateway.config.sources import read_toml
from gateway.core.api_key import ApiKey, CaptureMode
from gateway.core.priority import priority_of
from gateway.core.strict import STRICT
from gateway.core.validation import ValidationProblem, explain, shown

log = logging.getLogger("forge.keys")

OPTION = "--api-key-file"
DEFAULT_NAME = "default"
"""Name of the key that ``--api-key`` gives."""


def read_keys(secret: SecretStr | None, file: Path | None) -> Sequence[ApiKey]:
    """Return the key of ``--api-key`` and those of ``--api-key-file``. Raises ConfigError."""
    keys = list[ApiKey]()
    if secret is not None:
        keys.append(ApiKey(DEFAULT_NAME, digest(secret.get_secret_value()), admin=True))
    if file is not None:
        keys += _read(file)
    problem = clash(keys)
    if problem is not None:
        raise ConfigError(f"{OPTION}: {file}: {problem}")
    return keys


def clash(keys: Sequence[ApiKey]) -> str | None:
    """Return what keeps keys from standing side by side: a name or a secret that two have."""
    names, digests = set[str](), dict[bytes, str]()
    for key in keys:
        if key.name in names:
            return f"two keys have the name {key.name!r}"
        if key.digest in digests:
            return f"the keys {digests[key.digest]!r} and {key.name!r} are the same"
        names.add(key.name)
        digests[key.digest] = key.name
    return None


def digest(secret: str) -> bytes:
    """SHA-256. Nothing slower is needed: a key is random, not a word that can be guessed."""
    return hashlib.sha256(secret.encode()).digest()


Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[ -~]+$")]
ModelName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,256}$")]
"""A model's name, or a pattern of such."""


Tokens = Annotated[int, Field(ge=1, le=2**53)]


class KeyRights(BaseModel):
    """The rights of a key, as a ``[[key]]`` of the file and ``POST /keys`` write them."""

    model_config = STRICT

    max_priority: float | str | None = None
    """The most urgent that its requests may be, by name or by number. Default: any."""
    weight: Annotated[float, Field(ge=0.001, le=1000, allow_inf_nan=False)] = 1.0
    """Its share of the server among the keys that want it at the same time."""
    requests_per_minute: Annotated[int, Field(ge=1, le=10**9)] | None = None
    """Default: no limit."""
    tokens_per_minute: Annotated[int, Field(ge=1, le=10**9)] | None = None
    """Of prompts and answers. Default: no limit."""
    tokens_per_day: Tokens | None = None
    """The budget of a day in UTC, of prompts and answers. Default: none."""
    tokens_per_month: Tokens | None = None
    """The budget of a calendar month in UTC. Default: none."""
    max_stored_bytes: Annotated[int, Field(ge=0, le=2**60)] | None = None
    """Bytes of files that it may keep. Default: as many as the server allows each key."""
    cache_group: Name | None = None
    """Keys of one group share what is computed of their prompts. Default: it shares nothing."""
    admin: bool = False
    """True: it manages models and keys, and sees the usage of all."""
    models: Annotated[list[ModelName], Field(min_length=1, max_length=256)] | None = None
    """The only models that it may use, by their names or patterns of those. Default: all."""

    capture: CaptureMode | None = None
    """Its requests that are kept for debugging. Default: as the server's --capture says."""

    def to_key(self, name: str, digest: bytes) -> ApiKey:
        """Return the key of this name and secret. Raises ValueError for a wrong priority."""
        most = self.max_priority
        return ApiKey(
            name,
            digest,
            max_priority=math.inf if most is None else priority_of(most),
            weight=self.weight,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            max_stored_bytes=self.max_stored_bytes,
            cache_group=self.cache_group,
            admin=self.admin,
            models=None if self.models is None else tuple(self.models),
            capture=self.capture,
            tokens_per_day=self.tokens_per_day,
            tokens_per_month=self.tokens_per_month,
        )


class _Table(KeyRights):
    """One ``[[key]]`` of the file."""

    name: Name
    key: Secret


def _read(file: Path) -> list[ApiKey]:
    """The keys in a file, in its order."""
    content = read_toml(file, OPTION)
    if file.stat().st_mode & stat.S_IROTH:
        log.warning("%s: %s can be read by every user of this machine", OPTION, file)
    tables = content.pop("key", None)
    if content:
        other = next(iter(content))
        raise ConfigError(f"{OPTION}: {file}: there may be [[key]] tables only, not {shown(other)}")
    tables = tables if isinstance(tables, list) else []
    if not tables or not all(isinstance(table, dict) for table in tables):
        # An empty list too: it must not open the server.
        raise ConfigError(f"{OPTION}: {file}: there is no [[key]] table")
    return [_key(table, f"{OPTION}: {file}: key {at}") for at, table in enumerate(tables, start=1)]


def _key(table: dict[str, Any], where: str) -> ApiKey:
    """A validated table. ``where`` begins the text of a ConfigError."""
    if isinstance(name := table.get("name"), str):
        where += f" ({name!r})"
    fields = {key.replace("-", "_"): value for key, value in table.items()}
    try:
        given = _Table(**fields)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_reason(explain(error, fields))}") from None
    try:
        return given.to_key(given.name, digest(given.key.get_secret_value()))
    except ValueError as error:
        raise ConfigError(f"{where}: max-priority: {error}") from None


def _reason(problem: ValidationProblem) -> str:
    """Say what is wrong, without the value: it may be a secret in the wrong field."""
    field = problem.path[0].replace("_", "-")
    match problem.kind:
        case "unknown":
            return f"there is no field {field!r}"
        case "missing":
            return f"{field!r} is missing"
    return f"{field}: {problem.reason}"
