"""Keys of a store that no server has: the first one, before there is an admin to ask for it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from gateway.accounting.stored_keys import StoredKeys, rights_of
from gateway.config.api_keys import Keyring
from gateway.config.config import ConfigError
from gateway.config.key_file import KeyRights
from gateway.core.errors import ForgeError
from gateway.stored.errors import StoreUnusable
from gateway.stored.key_rows import KeyRows
from gateway.stored.store import Store

T = TypeVar("T")
log = logging.getLogger("forge")


class StoresKeys:
    """Keys in a folder or a database. The operator's are not known here."""

    def __init__(self, folder: Path | None, url: str | None) -> None:
        self._folder, self._url = folder, url
        log.addHandler(logging.NullHandler())  # errors say it all; a server's log is not for here

    def all(self) -> list[dict[str, Any]]:
        return self._do(self._listed)

    def add(self, name: str, rights: dict[str, Any], close: bool, adopt: bool) -> str:
        return self._do(lambda keys: keys.add(name, rights_of(rights), close=close, adopt=adopt))

    def limit(self, name: str, rights: dict[str, Any]) -> None:
        self._do(lambda keys: keys.limit(name, rights))

    def rotate(self, name: str) -> str:
        return self._do(lambda keys: keys.rotate(name))

    def revoke(self, name: str, now: bool) -> int:
        if now:
            raise ConfigError("--now: no server runs here that could end requests")
        self._do(lambda keys: keys.revoke(name))
        return 0

    async def _listed(self, keys: StoredKeys) -> list[dict[str, Any]]:
        found = list[dict[str, Any]]()
        for row in keys.all:
            rights = KeyRights.model_validate_json(row.rights).model_dump()
            told = {"name": row.name, "source": "store", "active": True}
            found.append({**told, "created_at": row.created_at, **rights})
        return found

    def _do(self, work: Callable[[StoredKeys], Awaitable[T]]) -> T:
        """Raises ConfigError."""
        try:
            return asyncio.run(self._opened(work))
        except (ForgeError, StoreUnusable) as error:
            raise ConfigError(str(error)) from error

    async def _opened(self, work: Callable[[StoredKeys], Awaitable[T]]) -> T:
        if self._folder is not None and not self._folder.is_dir() and self._url is None:
            raise ConfigError(f"--data-dir: {self._folder} is not a folder")
        store = Store(self._folder, self._url, 0, time.time)
        try:
            await store.open()
            if not store.is_open:
                raise ConfigError(
                    f"a server uses {self._folder}: ask it, with --url and the key of an admin"
                )
            keys = StoredKeys(Keyring(), KeyRows(store.database, time.time), offline=True)
            await keys.look()
            return await work(keys)
        finally:
            await store.close()
