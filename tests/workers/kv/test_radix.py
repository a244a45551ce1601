"""The radix tree against a list of texts, and that it does not grow old."""

from hypothesis import given, settings
from hypothesis import strategies as st

from workers.kv.radix import RadixTree, _Node, common

TOKENS = st.lists(st.integers(0, 1), max_size=12)


def brute(left: list[int], right: list[int], limit: int) -> int:
    sizes = range(min(limit, len(left), len(right)) + 1)
    return max(size for size in sizes if left[:size] == right[:size])


@settings(max_examples=150, deadline=None)
@given(TOKENS, TOKENS, st.integers(0, 15))
def test_common(left: list[int], right: list[int], limit: int) -> None:
    size = brute(left, right, limit)
    assert common(left, right, limit) == size
    assert common(left, right, limit, size // 2) == size, "some of them were known to be equal"


def nodes(node: _Node) -> list[_Node]:
    return [node, *(below for child in node.children.values() for below in nodes(child))]


@settings(max_examples=200, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 5), st.none() | TOKENS), max_size=25),
    prompts=st.lists(TOKENS, min_size=1, max_size=5),
)
def test_against_a_list(
    changes: list[tuple[int, list[int] | None]], prompts: list[list[int]]
) -> None:
    tree, texts = RadixTree(), dict[int, list[int]]()
    for key, text in changes:
        if text is None:
            tree.remove(key)
            texts.pop(key, None)
        else:
            tree.insert(key, text)
            texts[key] = list(text)
            text.append(0)  # a live list
    for prompt in prompts:
        sizes = {key: brute(text, prompt, len(prompt)) for key, text in texts.items()}
        levels = list(tree.path(prompt))
        assert [size for size, _ in levels] == sorted({size for size, _ in levels})
        for size, keys in levels:
            assert keys == {key for key in sizes if sizes[key] >= size}
        assert max((size for size, _ in levels), default=0) == max(sizes.values(), default=0)
        ends = {len(text) for text in texts.values() if text and text == prompt[: len(text)]}
        assert ends <= {size for size, _ in levels}, "a text ends where a node ends"
    # Every node but the root parts ways, or is where a text ends.
    sound = nodes(tree._root)[1:]
    for node in sound:
        assert node.keys
        assert node.start < node.end
        below = [child.keys for child in node.children.values()]
        assert len(below) != 1 or below[0] != node.keys
    assert len(sound) <= 2 * len(texts)
