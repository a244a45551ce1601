"""Chains of responses: each item is there once, and counted while something needs it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.api.responses.history import HistoryLink


def items(*names: str) -> list[dict[str, Any]]:
    return [{"id": name, "text": "x"} for name in names]


def test_a_chain_has_all_items_in_their_order() -> None:
    first = HistoryLink(items("a", "b"))
    second = HistoryLink(items("c"), first)
    assert second.all_items() == items("a", "b", "c")
    counted: list[int] = []
    second.hold(counted.append)
    second.extend(items("d"), counted.append)
    assert sum(counted) == second.whole_size() == first.size + second.size
    assert HistoryLink([], second).all_items() == items("a", "b", "c", "d")
    assert (second.own(), second.given) == (items("c", "d"), 1)
    assert ([*second.items], [*second.brought()]) == (["c", "d"], ["c"])
    assert first.all_items() == items("a", "b")


@given(st.lists(st.tuples(st.integers(-1, 20), st.integers(0, 9)), max_size=20), st.data())
def test_the_bytes_held_are_those_of_the_links_that_are_needed(
    shape: list[tuple[int, int]], data: st.DataObject
) -> None:
    """A tree of responses that are deleted in any order."""
    links: list[HistoryLink] = []
    held = 0

    def count(more: int) -> None:
        nonlocal held
        held += more

    for parent, size in shape:
        above = links[parent % len(links)] if links and parent >= 0 else None
        links.append(HistoryLink(items(*map(str, range(size))), above))
        links[-1].hold(count)
    alive = set(range(len(links)))
    for at in data.draw(st.permutations(range(len(links)))):
        needed: set[int] = set()
        for each in alive:
            link: HistoryLink | None = links[each]
            while link is not None:
                needed.add(id(link))
                link = link.parent
        assert held == sum(link.size for link in links if id(link) in needed)
        links[at].release(count)
        alive.discard(at)
    assert held == 0


def test_a_chain_of_any_length_needs_no_recursion() -> None:
    link = None
    for _ in range(100_000):
        link = HistoryLink([], link)
    assert link is not None
    found: list[int] = []
    link.hold(found.append)
    link.release(found.append)
    assert sum(found) == 0
    assert link.all_items() == []
