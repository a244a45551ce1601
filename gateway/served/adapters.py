"""The LoRA adapters of one model: what clients call them, and what requests have of them.

An adapter is a name and a file. The workers know it by the digest of its file, and a request has a
set of digests with scales. One that is unloaded is gone for clients at once, and for the workers
when the last request that was accepted with it has ended.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from gateway.core.errors import BadRequest
from gateway.served.adapter_files import OpenedAdapter
from workers.protocol import AdapterFile, AdapterSet, adapter_set

MOST_SUMMED = 8
"""Adapters that a request has at once: llama.cpp's graphs have room for some."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter as clients see it."""

    id: int
    """Its number in llama-server's lists."""
    name: str
    opened: OpenedAdapter
    usual: float = 0.0
    """The scale in requests that say nothing of adapters."""

    @property
    def digest(self) -> str:
        """Return its name in workers."""
        return self.opened.file.digest


class ModelAdapters:
    """The adapters of one model, and the requests that have them."""

    def __init__(self) -> None:
        self._adapters: dict[str, Adapter] = {}
        """By their names, in the order of their numbers."""
        self._next_id = 0
        self._users: Counter[str] = Counter()
        """Requests that have not ended, by digests."""
        self._leaving: list[OpenedAdapter] = []
        """Files without a name that requests still need."""

    def __iter__(self) -> Iterator[Adapter]:
        return iter(self._adapters.values())

    def __bool__(self) -> bool:
        return bool(self._adapters)

    def get(self, name: str) -> Adapter | None:
        """Return the adapter of that name."""
        return self._adapters.get(name)

    @property
    def files(self) -> list[AdapterFile]:
        """Return what workers must have."""
        every = [*(each.opened for each in self), *self._leaving]
        return list({each.file.digest: each.file for each in every}.values())

    def add(self, name: str, opened: OpenedAdapter, usual: float = 0.0) -> Adapter:
        """Take an adapter; its name must be new."""
        assert name not in self._adapters
        adapter = Adapter(self._next_id, name, opened, usual)
        self._next_id += 1
        self._adapters[name] = adapter
        return adapter

    def remove(self, name: str) -> None:
        """Let no request name an adapter any more."""
        opened = self._adapters.pop(name).opened
        if self._users[opened.file.digest]:
            self._leaving.append(opened)
        else:
            opened.close()

    def scale(self, scales: Sequence[tuple[int, float]]) -> None:
        """Change what requests have that say nothing: of the adapters that are not named, none."""
        wanted = dict(scales)
        for name, adapter in self._adapters.items():
            self._adapters[name] = replace(adapter, usual=wanted.get(adapter.id, 0.0))

    # ------------------------------------------------------------------ requests

    def usual(self) -> AdapterSet:
        """Return the adapters of a request that says nothing."""
        return adapter_set((each.digest, each.usual) for each in self)

    def asked(
        self,
        scales: Sequence[tuple[int, float]],
        may_use: Callable[[str], bool],
        param: tuple[str, ...] = ("lora",),
    ) -> AdapterSet:
        """Return the adapters that a request names by their numbers, each with its scale.

        Raises BadRequest about one that is not there, or not for this client; ``param`` is the way
        to them in its body.
        """
        by_id = {each.id: each for each in self if may_use(each.name)}
        for at, (id_, _) in enumerate(scales):
            if id_ not in by_id:
                name = ".".join((*param, str(at), "id"))
                message = f"'{name}': there is no adapter {id_}; GET /lora-adapters lists them"
                raise BadRequest(message, param=name)
        found = adapter_set((by_id[id_].digest, scale) for id_, scale in dict(scales).items())
        if len(found) > MOST_SUMMED:
            message = f"a request has at most {MOST_SUMMED} LoRA adapters at once"
            raise BadRequest(message, param=".".join(param) or None)
        return found

    def use(self, adapters: AdapterSet) -> None:
        """A request with these was accepted."""
        self._users.update(digest for digest, _ in adapters)

    def release(self, adapters: AdapterSet) -> bool:
        """Such a request has ended; whether workers may now forget a file."""
        for digest, _ in adapters:
            self._users[digest] -= 1
            if not self._users[digest]:
                del self._users[digest]
        free = [each for each in self._leaving if not self._users[each.file.digest]]
        for each in free:
            self._leaving.remove(each)
            each.close()
        return bool(free)

    def close(self) -> None:
        """Let go of all files."""
        for opened in (*(each.opened for each in self), *self._leaving):
            opened.close()
        self._adapters.clear()
        self._leaving.clear()
