"""The items of a chain of responses, each kept once however many responses go on from it. Pure.

A response keeps the items that it brought, and a link to those before. A link whose response is
deleted stays as long as another needs it, and its bytes count as long as it stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

Item = dict[str, Any]
OVERHEAD = 512
"""Bytes that a link costs beside its items."""


class HistoryLink:
    """The items of one response, input and output, and what they follow.

    Items are kept as JSON: as objects they would take many times the bytes that are counted.
    """

    __slots__ = ("_holders", "_json", "given", "ids", "parent", "size")

    def __init__(self, items: list[Item], parent: HistoryLink | None = None) -> None:
        """``items``: the input, each with an id."""
        self.parent = parent
        self.given = len(items)
        """So many of the items are the input."""
        self.ids: list[str] = []
        self.size = OVERHEAD
        """Bytes of what is kept here, without the parent's."""
        self._json: list[bytes] = []
        self._holders = 0
        self._add(items)

    def _add(self, items: list[Item]) -> int:
        added = [orjson.dumps(item) for item in items]
        self._json += added
        self.ids += [item["id"] for item in items]
        size = sum(map(len, added))
        self.size += size
        return size

    def extend(self, items: list[Item], counted: Callable[[int], None]) -> None:
        """Add the output to a link that is held; ``counted`` learns of its bytes."""
        counted(self._add(items))

    def own(self) -> list[Item]:
        """Return the items of this link."""
        return [orjson.loads(each) for each in self._json]

    def item(self, id_: str) -> Item:
        """Return an item of this link. Raises ValueError if it has none of this id."""
        found: Item = orjson.loads(self._json[self.ids.index(id_)])
        return found

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
