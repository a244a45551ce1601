"""The store of responses against a model that is too slow to ship."""

from collections import OrderedDict

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.api.responses.bounded_store import BoundedStore

ROOM, AGE_NS = 100, 10
OWNERS, IDS = st.sampled_from("ab"), st.sampled_from("xyz")
SIZES = st.integers(0, 60)


class Stores(RuleBasedStateMachine):
    """Every value of the model is found by its owner, and no other."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.gone: list[tuple[str, str]] = []
        self.store: BoundedStore[str] = BoundedStore(
            ROOM, AGE_NS, lambda: self.now, lambda owner, value: self.gone.append((owner, value))
        )
        self.model: OrderedDict[tuple[str, str], tuple[str, int, int]] = OrderedDict()
        """Value, size and birth by owner and id, oldest first."""
        self.made = 0

    def sizes(self) -> dict[str, int]:
        found = {"a": 0, "b": 0}
        for (owner, _), (_, size, _) in self.model.items():
            found[owner] += size
        return found

    def drop(self, place: tuple[str, str]) -> None:
        value, _, _ = self.model.pop(place)
        assert (place[0], value) in self.gone
        self.gone.remove((place[0], value))

    def expire(self) -> None:
        for place, (_, _, born) in list(self.model.items()):
            if born <= self.now - AGE_NS:
                self.drop(place)

    def shrink(self) -> None:
        while sum(self.sizes().values()) > ROOM:
            sizes = self.sizes()
            # Of two with as many bytes either may lose one: the store's choice is followed.
            losers = [owner for owner in sizes if sizes[owner] == max(sizes.values())]
            oldest = {o: next(p for p in self.model if p[0] == o) for o in losers}
            lost = [(o, self.model[oldest[o]][0]) for o in losers]
            first, *_ = sorted(filter(self.gone.__contains__, lost), key=self.gone.index)
            self.drop(oldest[first[0]])

    @rule(owner=OWNERS, id_=IDS, size=SIZES)
    def put(self, owner: str, id_: str, size: int) -> None:
        self.made += 1
        value = f"value {self.made}"
        kept = self.store.put(owner, id_, value, size)
        if (owner, id_) in self.model:
            self.drop((owner, id_))
        self.expire()
        self.model[owner, id_] = (value, size, self.now)
        self.shrink()
        assert kept == ((owner, id_) in self.model)

    @rule(owner=OWNERS, id_=IDS, size=SIZES)
    def resize(self, owner: str, id_: str, size: int) -> None:
        self.store.resize(owner, id_, size)
        if (owner, id_) in self.model:
            value, _, born = self.model[owner, id_]
            self.model[owner, id_] = (value, size, born)
            self.shrink()

    @rule(owner=OWNERS, id_=IDS, size=SIZES)
    def renew(self, owner: str, id_: str, size: int) -> None:
        self.store.renew(owner, id_, size)
        self.expire()
        if (owner, id_) in self.model:
            value, _, _ = self.model.pop((owner, id_))
            self.model[owner, id_] = (value, size, self.now)
            self.shrink()

    @rule(owner=OWNERS, id_=IDS)
    def remove(self, owner: str, id_: str) -> None:
        found = self.store.remove(owner, id_)
        known = self.model.get((owner, id_))
        assert found == (None if known is None else known[0])
        if known is not None:
            self.drop((owner, id_))

    @rule(seconds=st.integers(1, 6))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @invariant()
    def all_is_found(self) -> None:
        for owner in "ab":
            for id_ in "xyz":
                found = self.store.get(owner, id_)
                self.expire()
                known = self.model.get((owner, id_))
                assert found == (None if known is None else known[0])
            newest_first = [
                value for place, (value, _, _) in self.model.items() if place[0] == owner
            ]
            assert self.store.values(owner) == newest_first[::-1]
        assert self.gone == []
        assert self.store.size == sum(self.sizes().values()) <= ROOM


TestStores = Stores.TestCase


def test_a_quiet_owner_loses_nothing_to_a_busy_one() -> None:
    store: BoundedStore[int] = BoundedStore(100, 10, lambda: 0)
    store.put("quiet", "one", 1, 40)
    for n in range(50):
        store.put("busy", str(n), n, 15)
    assert store.get("quiet", "one") == 1
    assert [n for n in range(50) if store.get("busy", str(n)) is not None] == [46, 47, 48, 49]


def test_what_is_larger_than_the_room_is_not_kept_and_evicts_nothing() -> None:
    store: BoundedStore[int] = BoundedStore(100, 10, lambda: 0)
    store.put("a", "small", 1, 50)
    assert not store.put("a", "large", 2, 101)
    assert store.get("a", "small") == 1
