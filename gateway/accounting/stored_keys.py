"""The keys of the store: added, limited and revoked while the server runs.

A secret is made here, told once, and kept as its SHA-256. Three rules:

- The operator's keys (``--api-key``, ``--api-key-file``) are not changed here, and win where both
  have a name.
- An open server is closed only on purpose: its first key must be an admin's, and the caller must
  say that it knows. A server that ever had a key does not open again.
- The last key of an admin stays: without one no client could add another.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from gateway.config.api_keys import Keyring, digest
from gateway.config.key_file import KeyRights
from gateway.core.api_key import ApiKey
from gateway.core.errors import BadRequest, KeyOfOperator, LastAdmin, ServerIsOpen
from gateway.core.validation import explain
from gateway.stored.key_rows import KeyRow, KeyRows, KeySet

PREFIX = "forge-sk-"
SECRET_BYTES = 32


class StoredKeys:
    """The one place that changes the store's keys, and the store's side of the ring."""

    def __init__(self, keyring: Keyring, rows: KeyRows, *, offline: bool = False) -> None:
        """``offline``: no server runs on the store: then the last admin may go."""
        self._keyring, self._rows, self._offline = keyring, rows, offline
        self._revision = -1
        self.all: Sequence[KeyRow] = ()

    async def look(self) -> None:
        """Take over what has changed, by whichever server."""
        if await self._rows.revision() != self._revision:
            self._take(await self._rows.all())

    def _take(self, found: KeySet) -> None:
        if found.revision < self._revision:
            return  # another change was quicker
        self._revision, self.all = found
        self._keyring.replace_stored(map(_key, self.all), closed=found.revision > 0)

    async def add(
        self, name: str, rights: KeyRights, *, close: bool = False, adopt: bool = False
    ) -> str:
        """Add a key, and return its secret, which is told now and never again.

        ``close``: the server may be open, and needs a key from now on. ``adopt``: what an earlier
        key of this name has left becomes this one's.
        """
        self._check_operators(name)
        _checked(name, rights)
        if self._keyring.open:
            _check_closing(rights, close)
        secret = _secret()
        self._take(await self._rows.add(name, digest(secret), _json(rights), adopt=adopt))
        return secret

    async def limit(self, name: str, changes: Mapping[str, Any]) -> None:
        """Change rights of a key; the others stay as they are."""
        self._check_operators(name)
        await self.look()
        row = next((each for each in self.all if each.name == name), None)
        before = {} if row is None else KeyRights.model_validate_json(row.rights).model_dump()
        rights = rights_of({**before, **changes})
        _checked(name, rights)
        self._take(await self._rows.change(name, self._check_admins, rights=_json(rights)))

    async def rotate(self, name: str) -> str:
        """Give a key another secret, and return it. The one before ends now."""
        self._check_operators(name)
        secret = _secret()
        self._take(await self._rows.change(name, self._check_admins, digest=digest(secret)))
        return secret

    async def revoke(self, name: str) -> None:
        """End a key: the next request with it is refused, those that run go on."""
        if not any(each.name == name for each in self.all):
            self._check_operators(name)
        self._take(await self._rows.remove(name, self._check_admins))

    def _check_operators(self, name: str) -> None:
        if any(key.name == name for key in self._keyring.given):
            raise KeyOfOperator(
                f"'{name}' is a key of --api-key or --api-key-file: it is changed there",
                param="name",
            )

    def _check_admins(self, rows: Sequence[KeyRow]) -> None:
        """Raises :class:`LastAdmin` if these keys and the operator's are without an admin."""
        if self._offline or not any(key.admin for key in self._keyring):
            return
        given = {key.name for key in self._keyring.given}
        stored = (_key(row) for row in rows if row.name not in given)
        if not any(key.admin for key in (*self._keyring.given, *stored)):
            raise LastAdmin("this is the last key of an admin: add another one first")


def rights_of(fields: Mapping[str, Any]) -> KeyRights:
    """Return validated rights. Raises BadRequest that names the field."""
    try:
        return KeyRights(**fields)
    except ValidationError as error:
        problem = explain(error, fields)
        param = ".".join(problem.path)
        if problem.kind == "unknown":
            raise BadRequest(f"there is no right '{param}'", param=param) from None
        raise BadRequest(f"'{param}': {problem.message}", param=param) from None


def _checked(name: str, rights: KeyRights) -> None:
    try:
        rights.to_key(name, b"")
    except ValueError as error:
        raise BadRequest(f"'max_priority': {error}", param="max_priority") from None


def _check_closing(rights: KeyRights, close: bool) -> None:
    if not close:
        raise ServerIsOpen(
            "the server needs no key so far: with its first one, all clients without a key are "
            "refused; say 'close' (forge keys add --close) if that is meant",
            param="close",
        )
    if not rights.admin:
        message = "the first key must be an admin's, or no client could add another"
        raise BadRequest(f"'admin': {message}", param="admin")


def _key(row: KeyRow) -> ApiKey:
    return KeyRights.model_validate_json(row.rights).to_key(row.name, row.digest)


def _json(rights: KeyRights) -> bytes:
    return rights.model_dump_json(exclude_defaults=True).encode()


def _secret() -> str:
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)
