"""A radix tree over tokens: which of many texts begin like a prompt? Pure.

A node is a run of tokens that some texts have in common, so a look-up reads the prompt once,
however many texts there are, and of those that share a beginning finds the shortest at once. A text
may have *stops*: positions that are nodes' ends, and can be asked for. Tokens are not copied: a
node points into one of its texts.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence

Keys = Sequence[tuple[int, int]]
"""Texts as (size, key), the shortest first."""


class _Node:
    """Tokens ``start`` to ``end`` of ``text``, and all texts that go through them."""

    __slots__ = ("children", "end", "keys", "start", "stops", "text")

    def __init__(self, text: Sequence[int], start: int, end: int) -> None:
        self.text, self.start, self.end = text, start, end
        self.keys: list[tuple[int, int]] = []
        self.stops: list[tuple[int, int]] = []
        """Keys that have a stop at ``end``."""
        self.children: dict[int, _Node] = {}
        """By their first token."""

    def add(self, child: "_Node") -> None:
        self.children[child.text[child.start]] = child

    def split(self, at: int) -> None:
        """Make the tokens after position ``at`` a child."""
        tail = _Node(self.text, at, self.end)
        tail.keys = self.keys.copy()
        tail.stops, self.stops = self.stops, []
        tail.children, self.children = self.children, {}
        self.end = at
        self.add(tail)

    def merge(self) -> None:
        """Undo a split that no text needs any more."""
        if len(self.children) == 1 and not self.stops:
            (tail,) = self.children.values()
            self.text, self.end, self.stops = tail.text, tail.end, tail.stops
            self.children = tail.children


class RadixTree:
    """Texts by key. The same text may be there under several keys; none is empty."""

    def __init__(self) -> None:
        self._root = _Node((), 0, 0)
        self._texts: dict[int, tuple[Sequence[int], list[int]]] = {}
        """Each with its stops, of which the last is its size: a live list may have grown since."""

    def __contains__(self, key: int) -> bool:
        return key in self._texts

    def __len__(self) -> int:
        return len(self._texts)

    def insert(self, key: int, text: Sequence[int], stops: Iterable[int] = ()) -> None:
        """Add ``text`` as it is now, in place of what ``key`` stood for.

        It is not copied: tokens may be appended to it later, but not changed. Its end is a stop in
        any case; ``stops`` are positions before.
        """
        self.remove(key)
        if not text:
            return
        size = len(text)
        self._texts[key] = text, sorted({*stops, size})
        node = self._root
        for stop in self._texts[key][1]:
            while node.end < stop:
                node = self._child(node, text, stop)
                insort(node.keys, (size, key))
            insort(node.stops, (size, key))

    @staticmethod
    def _child(node: _Node, text: Sequence[int], end: int) -> _Node:
        """Return the next node on the way of ``text`` to ``end``, made if need be."""
        child = node.children.get(text[node.end])
        if child is None:
            child = _Node(text, node.end, end)
            node.add(child)
        same = common(child.text, text, min(child.end, end), child.start)
        if same < child.end:
            child.split(same)
        return child

    def remove(self, key: int) -> None:
        """Forget a text; nothing if it is not there."""
        text, stops = self._texts.pop(key, ((), [0]))
        size, node, passed = stops[-1], self._root, list[_Node]()
        while node.end < size:
            child = node.children[text[node.end]]
            _discard(child.keys, (size, key))
            _discard(child.stops, (size, key))
            if not child.keys:
                del node.children[text[node.end]]
                break
            passed.append(child)
            node = child
        for node in reversed(passed):
            node.merge()

    def path(self, prompt: Sequence[int]) -> Iterator[tuple[int, Keys]]:
        """Yield how many first tokens of ``prompt`` which texts have, from the fewest to the most.

        Each time fewer texts; the sequences are the tree's own: not to be changed, nor kept.
        """
        return ((same, node.keys) for same, node in self._walk(prompt))

    def stops(self, prompt: Sequence[int]) -> Iterator[tuple[int, Keys]]:
        """Yield at which positions of ``prompt`` which texts that begin like it have stops."""
        walk = self._walk(prompt)
        return ((same, node.stops) for same, node in walk if same == node.end and node.stops)

    def _walk(self, prompt: Sequence[int]) -> Iterator[tuple[int, _Node]]:
        node, size = self._root, len(prompt)
        while node.end < size:
            child = node.children.get(prompt[node.end])
            if child is None:
                return
            same = common(child.text, prompt, min(child.end, size), child.start)
            yield same, child
            if same < child.end:
                return
            node = child


def _discard(keys: list[tuple[int, int]], item: tuple[int, int]) -> None:
    at = bisect_left(keys, item)
    if keys[at : at + 1] == [item]:
        del keys[at]


def common(left: Sequence[int], right: Sequence[int], limit: int, start: int = 0) -> int:
    """Length of the common prefix of two lists, at most ``limit``; ``start`` tokens are known."""
    low, high = start, min(limit, len(left), len(right))
    if left[low:high] == right[low:high]:
        return high
    while low < high:
        # Comparing slices runs in C; bisecting over them beats a Python loop over tokens.
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
