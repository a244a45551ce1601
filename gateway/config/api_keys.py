"""The clients that may use the server, and how much of it.

A secret is forgotten as soon as it is read: what stays is its SHA-256, so that no log, repr or
traceback can show it.
"""

import hashlib
import hmac
import logging
import math
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from gateway.config.config import ConfigError
from gateway.config.option_types import Secret
from gateway.config.sources import read_toml
from gateway.core.api_key import ANYONE, ApiKey, CaptureMode
from gateway.core.priority import priority_of
from gateway.core.validation import ValidationProblem, explain, shown

log = logging.getLogger("forge.keys")

OPTION = "--api-key-file"
DEFAULT_NAME = "default"
"""Name of the key that ``--api-key`` gives."""


class Keyring:
    """All keys of a server; one without keys is open to all."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._keys = tuple(keys)
        self._listeners = list[Callable[[], None]]()

    def on_change(self, call: Callable[[], None]) -> None:
        """Have it called after each change, before the next request is looked at."""
        self._listeners.append(call)

    @classmethod
    def load(cls, secret: SecretStr | None, file: Path | None) -> "Keyring":
        """The key of ``--api-key`` and those of ``--api-key-file``. Raises ConfigError."""
        keys = list[ApiKey]()
        if secret is not None:
            keys.append(ApiKey(DEFAULT_NAME, digest(secret.get_secret_value()), admin=True))
        if file is not None:
            keys += _read(file)
        names, digests = set[str](), dict[bytes, str]()
        for key in keys:
            if key.name in names:
                raise ConfigError(f"{OPTION}: {file}: two keys have the name {key.name!r}")
            if key.digest in digests:
                pair = f"{digests[key.digest]!r} and {key.name!r}"
                raise ConfigError(f"{OPTION}: {file}: the keys {pair} are the same")
            names.add(key.name)
            digests[key.digest] = key.name
        return cls(keys)

    def __iter__(self) -> Iterator[ApiKey]:
        return iter(self._keys)

    @property
    def given(self) -> tuple[ApiKey, ...]:
        """The operator's keys."""
        return self._keys

    def replace(self, keys: Iterable[ApiKey]) -> None:
        """Take these keys instead. Raises ConfigError, and nothing has changed.

        No change opens a server that needs a key, and none closes an open one.
        """
        given = tuple(keys)
        if self.open and given:
            raise ConfigError(f"{OPTION}: the server is open to all; a restart gives it keys")
        if not self.open and not given:
            raise ConfigError(f"{OPTION}: without keys the server would be open to all")
        self._keys = given
        for call in self._listeners:
            call()

    @property
    def open(self) -> bool:
        """True if no key is needed."""
        return not self._keys

    def named(self, name: str) -> ApiKey | None:
        """The key of this name; "" is any client of a server without keys."""
        if self.open:
            return ANYONE if name == ANYONE.name else None
        return next((key for key in self._keys if key.name == name), None)

    def find(self, secret: str) -> ApiKey | None:
        """The key with this secret. The time it takes does not depend on which one it is."""
        wanted, found = digest(secret), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, wanted):
                found = key
        return found


def digest(secret: str) -> bytes:
    """SHA-256. Nothing slower is needed: a key is random, not a word that can be guessed."""
    return hashlib.sha256(secret.encode()).digest()


Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[ -~]+$")]
ModelName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,256}$")]
"""A model's name, or a pattern of such."""


class _Table(BaseModel):
    """One ``[[key]]`` of the file."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: Name
    key: Secret
    max_priority: float | str | None = None
    weight: Annotated[float, Field(ge=0.001, le=1000, allow_inf_nan=False)] = 1.0
    requests_per_minute: Annotated[int, Field(ge=1, le=10**9)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=1, le=10**9)] | None = None
    max_stored_bytes: Annotated[int, Field(ge=0, le=2**60)] | None = None
    cache_group: Name | None = None
    admin: bool = False
    models: Annotated[list[ModelName], Field(min_length=1, max_length=256)] | None = None
    capture: CaptureMode | None = None


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
    return ApiKey(
        given.name,
        digest(given.key.get_secret_value()),
        _max_priority(given.max_priority, where),
        given.weight,
        given.requests_per_minute,
        given.tokens_per_minute,
        given.max_stored_bytes,
        given.cache_group,
        given.admin,
        None if given.models is None else tuple(given.models),
        given.capture,
    )


def _reason(problem: ValidationProblem) -> str:
    """Say what is wrong, without the value: it may be a secret in the wrong field."""
    field = problem.path[0].replace("_", "-")
    match problem.kind:
        case "unknown":
            return f"there is no field {field!r}"
        case "missing":
            return f"{field!r} is missing"
    return f"{field}: {problem.reason}"


def _max_priority(value: float | str | None, where: str) -> float:
    if value is None:
        return math.inf
    try:
        return priority_of(value)
    except ValueError as error:
        raise ConfigError(f"{where}: max-priority: {error}") from None
