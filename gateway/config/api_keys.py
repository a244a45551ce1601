"""The clients that may use the server, and how much of it.

A secret is forgotten as soon as it is read: what stays is its SHA-256, so that no log, repr or
traceback can show it.

A server has one ring for as long as it runs. Its keys come from two sides, the operator's options
(``--api-key``, ``--api-key-file``) and the store (``forge keys``), and each side is replaced as a
whole, in one step: a request sees the keys before or the keys after, and never some of both. Where
both sides have a name, or a secret, the operator's key counts.
"""

import hmac
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pydantic import SecretStr

from gateway.config.config import ConfigError
from gateway.config.key_file import DEFAULT_NAME, OPTION, clash, digest, read_keys
from gateway.core.api_key import ANYONE, ApiKey

__all__ = ["DEFAULT_NAME", "OPTION", "Keyring", "digest", "read_keys"]

log = logging.getLogger("forge.keys")


class Keyring:
    """All keys of a server; one that never had any is open to all."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._given = tuple(keys)
        """The operator's."""
        self._stored: tuple[ApiKey, ...] = ()
        self._closed = bool(self._given)
        """True: there is a key, or there was one."""
        self._keys = self._given
        self._listeners = list[Callable[[], None]]()

    @classmethod
    def load(cls, secret: SecretStr | None, file: Path | None) -> "Keyring":
        """The key of ``--api-key`` and those of ``--api-key-file``. Raises ConfigError."""
        return cls(read_keys(secret, file))

    def __iter__(self) -> Iterator[ApiKey]:
        return iter(self._keys)

    @property
    def open(self) -> bool:
        """True if no key is needed. A server that needs one stays so: see :meth:`replace`."""
        return not self._closed

    @property
    def given(self) -> tuple[ApiKey, ...]:
        """The operator's keys."""
        return self._given

    @property
    def stored(self) -> tuple[ApiKey, ...]:
        """The store's keys, those included that give way to one of the operator's."""
        return self._stored

    def on_change(self, call: Callable[[], None]) -> None:
        """Have it called after each change, before the next request is looked at."""
        self._listeners.append(call)

    def replace(self, keys: Iterable[ApiKey]) -> None:
        """Take these instead of the operator's keys. Raises ConfigError, and nothing has changed.

        No change opens a server that needs a key, and none closes an open one: its clients have
        none to show. Both take a restart.
        """
        given = tuple(keys)
        problem = clash(given)
        if problem is not None:
            raise ConfigError(f"{OPTION}: {problem}")
        if self.open and given:
            raise ConfigError(f"{OPTION}: the server is open to all; a restart gives it keys")
        if self._given and not given and not self._stored:
            raise ConfigError(f"{OPTION}: without keys the server would be open to all")
        self._given = given
        self._join()

    def replace_stored(self, keys: Iterable[ApiKey], *, closed: bool) -> None:
        """Take these instead of the store's keys; ``closed``: the store has or had some.

        A server whose last key was revoked needs a key that is not there: it does not open.
        """
        self._stored = tuple(keys)
        self._closed |= closed or bool(self._stored)
        self._join()

    def _join(self) -> None:
        names = {key.name for key in self._given}
        digests = {key.digest for key in self._given}
        free = [each for each in self._stored if each.name not in names]
        for each in self._stored:
            if each.name in names:
                log.info("the key %r of the store gives way to the operator's", each.name)
        more = tuple(each for each in free if each.digest not in digests)
        self._keys = self._given + more
        for call in self._listeners:
            call()

    def named(self, name: str) -> ApiKey | None:
        """The key of this name; "" is any client of a server without keys."""
        if self.open:
            return ANYONE if name == ANYONE.name else None
        return next((key for key in self._keys if key.name == name), None)

    def holds(self, key: ApiKey) -> bool:
        """Tell if a request with this key would still be let in, whatever its rights are now."""
        found = self.named(key.name)
        return found is not None and found.digest == key.digest

    def find(self, secret: str) -> ApiKey | None:
        """The key with this secret. The time it takes does not depend on which one it is."""
        wanted, found = digest(secret), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, wanted):
                found = key
        return found
