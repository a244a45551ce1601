"""The items of a chain of responses, each kept once however many responses go on from it. Pure.

A response keeps the items that it brought, and a link to those before. A link whose response is
deleted stays as long as another needs it, and its bytes count as long as it stays.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import orjson

Item = dict[str, Any]
OVERHEAD = 512
"""Bytes that a link costs beside its items."""
ITEM = 256
"""Bytes that an item costs beside its JSON, at the least."""


class HistoryEnd:
    """The end of a stored conversation, as its archive knows it."""

    __slots__ = ()


class HistoryLink(HistoryEnd):
    """The items of one response, input and output, and what they follow.

    Items are kept as JSON: as objects they would take many times the bytes that are counted.
    """

    __slots__ = ("_holders", "given", "items", "parent", "size")

    def __init__(self, items: list[Item], parent: HistoryLink | None = None) -> None:
        """``items``: the input, each with an id of its own."""
        self.parent = parent
        self.given = len(items)
        """Number of the items that are the input: the first ones."""
        self.items: dict[str, bytes] = {}
        """JSON by the items' ids, in their order."""
        self.size = OVERHEAD
        """Bytes of what is kept here, without the parent's."""
        self._holders = 0
        self._add(items)

    def _add(self, items: list[Item]) -> int:
        added = {item["id"]: orjson.dumps(item) for item in items}
        self.items |= added
        size = sum(ITEM + len(each) for each in added.values())
        self.size += size
        return size

    def extend(self, items: list[Item], counted: Callable[[int], None]) -> None:
        """Add the output to a link that is held; ``counted`` learns of its bytes."""
        counted(self._add(items))

    def own(self) -> list[Item]:
        """Return the items of this link."""
        return [orjson.loads(each) for each in self.items.values()]

    def brought(self) -> dict[str, bytes]:
        """Return the input's items as they are kept."""
        return dict(islice(self.items.items(), self.given))

    def chain(self) -> list[HistoryLink]:
        """Return the links up to this one, oldest first."""
        links, link = [], self
        while True:
            links.append(link)
            if link.parent is None:
                return links[::-1]
            link = link.parent

    def all_items(self) -> list[Item]:
        """Return the items of the whole chain, oldest first."""
        return [item for link in self.chain() for item in link.own()]

    def whole_size(self) -> int:
        """Return the bytes of the whole chain."""
        return sum(link.size for link in self.chain())

    def hold(self, counted: Callable[[int], None]) -> None:
        """Note one more that needs it; ``counted`` learns of the bytes that are held newly."""
        link: HistoryLink | None = self
        while link is not None:
            link._holders += 1
            if link._holders > 1:
                return
            counted(link.size)
            link = link.parent

    def release(self, counted: Callable[[int], None]) -> None:
        """Note one less; ``counted`` learns of the bytes that are free, as negative numbers."""
        link: HistoryLink | None = self
        while link is not None:
            link._holders -= 1
            if link._holders:
                return
            counted(-link.size)
            link = link.parent
