"""Encoded media, kept for texts that come again when their cells are gone. Pure."""

from collections import OrderedDict

from workers.media.messages import Encoded

MOST_LAYOUTS = 4096
"""Layouts that are remembered: some hundred bytes each."""


class MediaCache:
    """Media by key, the least recently used go first. All are of one projector."""

    def __init__(self, capacity: int) -> None:
        """``capacity``: bytes of rows."""
        self._capacity = capacity
        self._encoded: OrderedDict[str, Encoded] = OrderedDict()
        self._layouts: OrderedDict[str, Encoded] = OrderedDict()
        self.bytes = 0
        """Of the rows that are kept."""

    def put(self, key: str, encoded: Encoded) -> None:
        """Keep a medium with its rows, unless it is larger than the capacity; and its layout."""
        self.put_layout(key, encoded.layout)
        if key in self._encoded or encoded.size > self._capacity:
            return
        self._encoded[key] = encoded
        self.bytes += encoded.size
        while self.bytes > self._capacity:
            _, gone = self._encoded.popitem(last=False)
            self.bytes -= gone.size

    def get(self, key: str) -> Encoded | None:
        """Return a medium with its rows, if it is kept; that is a use of it."""
        if key in self._encoded:
            self._encoded.move_to_end(key)
        return self._encoded.get(key)

    def put_layout(self, key: str, layout: Encoded) -> None:
        """Remember how many rows a medium has, and what is around them."""
        self._layouts[key] = layout
        self._layouts.move_to_end(key)
        if len(self._layouts) > MOST_LAYOUTS:
            self._layouts.popitem(last=False)

    def layout(self, key: str) -> Encoded | None:
        """Return a medium without its rows, if it is known."""
        if key in self._layouts:
            self._layouts.move_to_end(key)
        return self._layouts.get(key)
