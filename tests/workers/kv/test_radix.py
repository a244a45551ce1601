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


Change = tuple[int, list[int] | None, set[int]]


@settings(max_examples=200, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 5), st.none() | TOKENS, st.sets(st.integers(1, 12), max_size=3)),
        max_size=25,
    ),
    prompts=st.lists(TOKENS, min_size=1, max_size=5),
)
def test_against_a_list(changes: list[Change], prompts: list[list[int]]) -> None:
    tree, texts, stops = RadixTree(), dict[int, list[int]](), dict[int, set[int]]()
    for key, text, positions in changes:
        if text is None:
            tree.remove(key)
            texts.pop(key, None)
        else:
            stops[key] = {position for position in positions if position < len(text)}
            tree.insert(key, text, stops[key])
            stops[key].add(len(text))
            texts[key] = list(text)
            text.append(0)  # a live list
    for prompt in prompts:
        sizes = {key: brute(text, prompt, len(prompt)) for key, text in texts.items()}
        levels = list(tree.path(prompt))
        assert [size for size, _ in levels] == sorted({size for size, _ in levels})
        for size, keys in levels:
            alike = [key for key in sizes if sizes[key] >= size]
            assert keys == sorted((len(texts[key]), key) for key in alike), "the shortest first"
        assert max((size for size, _ in levels), default=0) == max(sizes.values(), default=0)
        found = [(stop, keys) for stop, keys in tree.stops(prompt)]
        assert found == [
            (stop, sorted((len(texts[key]), key) for key in having))
            for stop in range(1, len(prompt) + 1)
            if (having := [key for key in texts if stop in stops[key] and stop <= sizes[key]])
        ]
    # Every node but the root parts ways, or is where a text has a stop.
    sound = nodes(tree._root)[1:]
    for node in sound:
        assert node.keys
        assert node.start < node.end
        assert node.stops or len(node.children) > 1
    assert len(sound) <= sum(1 + len(stops[key]) for key in texts)
