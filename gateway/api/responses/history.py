"""The items of a chain of responses, each kept once however many responses go on from it. Pure.

A response keeps the items that it brought, and a link to those before. A link whose response is
deleted stays as long as another needs it, and its bytes count as long as it stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Item = dict[str, Any]


class HistoryLink:
    """The items of one response, input and output, and what they follow."""

    __slots__ = ("_holders", "items", "parent", "size")

    def __init__(self, items: list[Item], size: int, parent: HistoryLink | None) -> None:
        """``size``: bytes of the items."""
        self.items = items
        self.size = size
        self.parent = parent
        self._holders = 0

    def all_items(self) -> list[Item]:
        """Return the items of the whole chain, oldest first."""
        links, link = [], self
        while True:
            links.append(link)
            if link.parent is None:
                break
            link = link.parent
        return [item for each in reversed(links) for item in each.items]

    def whole_size(self) -> int:
        """Return the bytes of the whole chain."""
        size, link = 0, self
        while True:
            size += link.size
            if link.parent is None:
                return size
            link = link.parent

    def extend(self, items: list[Item], size: int, counted: Callable[[int], None]) -> None:
        """Add items of so many bytes to a link that is held."""
        self.items = [*self.items, *items]
        self.size += size
        counted(size)

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
