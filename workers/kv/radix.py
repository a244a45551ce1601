"""A radix tree over tokens: which of many texts begin like a prompt? Pure.

A node is a run of tokens that some texts have in common, so a look-up reads the prompt once,
however many texts there are. Tokens are not copied: a node points into one of its texts.
"""

from collections.abc import Iterator, Sequence


class _Node:
    """Tokens ``start`` to ``end`` of ``text``, and the keys of all texts that go through them."""

    __slots__ = ("children", "end", "keys", "start", "text")

    def __init__(self, text: Sequence[int], start: int, end: int, keys: set[int]) -> None:
        self.text, self.start, self.end, self.keys = text, start, end, keys
        self.children: dict[int, _Node] = {}
        """By their first token."""

    def add(self, child: "_Node") -> None:
        self.children[child.text[child.start]] = child

    def split(self, at: int) -> None:
        """Make the tokens after position ``at`` a child."""
        tail = _Node(self.text, at, self.end, set(self.keys))
        tail.children, self.children = self.children, {}
        self.end = at
        self.add(tail)

    def merge(self) -> None:
        """Undo a split that no text needs any more."""
        if len(self.children) == 1:
            (tail,) = self.children.values()
            if len(tail.keys) == len(self.keys):
                self.text, self.end, self.children = tail.text, tail.end, tail.children


class RadixTree:
    """Texts by key. The same text may be there under several keys; none is empty."""

    def __init__(self) -> None:
        self._root = _Node((), 0, 0, set())
        self._texts: dict[int, tuple[Sequence[int], int]] = {}
        """Each with its size: a live list may have grown since."""

    def __contains__(self, key: int) -> bool:
        return key in self._texts

    def __len__(self) -> int:
        return len(self._texts)

    def size(self, key: int) -> int:
        """Tokens of a text; 0 if it is not there."""
        return self._texts[key][1] if key in self._texts else 0

    def insert(self, key: int, text: Sequence[int]) -> None:
        """Add ``text`` as it is now, in place of what ``key`` stood for.

        It is not copied: tokens may be appended to it later, but not changed.
        """
        self.remove(key)
        if not text:
            return
        size = len(text)
        self._texts[key] = text, size
        node = self._root
        while node.end < size:
            child = node.children.get(text[node.end])
            if child is None:
                child = _Node(text, node.end, size, set())
                node.add(child)
            same = common(child.text, text, min(child.end, size), child.start)
            if same < child.end:
                child.split(same)
            child.keys.add(key)
            node = child

    def remove(self, key: int) -> None:
        """Forget a text; nothing if it is not there."""
        text, size = self._texts.pop(key, ((), 0))
        node = self._root
        while node.end < size:
            child = node.children[text[node.end]]
            child.keys.remove(key)
            if not child.keys:
                del node.children[text[node.end]]
                break
            node = child
        # Only where the paths part can a node have become superfluous: there, or where it ended.
        if node is not self._root:
            node.merge()

    def path(self, prompt: Sequence[int]) -> Iterator[tuple[int, set[int]]]:
        """Yield how many first tokens of ``prompt`` which texts have, from the fewest to the most.

        The sets shrink from one to the next, and are the tree's own: not to be changed, nor kept.
        """
        node, size = self._root, len(prompt)
        while node.end < size:
            child = node.children.get(prompt[node.end])
            if child is None:
                return
            same = common(child.text, prompt, min(child.end, size), child.start)
            yield same, child.keys
            if same < child.end:
                return
            node = child


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
