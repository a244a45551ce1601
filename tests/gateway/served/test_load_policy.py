"""Which models are in memory: who is loaded, who makes room, and that nobody starves."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.clock import NANO
from gateway.ordering.aging import AgingHeap
from gateway.served.load_policy import (
    MOST_LEASES,
    RETRY_FIRST_NS,
    STAY,
    Decision,
    Facts,
    LoadPolicy,
)


class House:
    """Models that load in a second, and a clock."""

    def __init__(self, budget: int, **needs: int) -> None:
        keep = 300 * NANO
        self.residency = LoadPolicy(budget, {name: (need, keep) for name, need in needs.items()})
        self.facts = dict.fromkeys(needs, Facts())
        self.now = 0
        self.loads: list[str] = []
        self.unloads: list[tuple[str, str]] = []

    def set(self, name: str, **changes: int | bool | None) -> None:
        self.facts[name] = replace(self.facts[name], **changes)  # type: ignore[arg-type]

    def decide(self, *, takes: float = 0.0) -> Decision:
        """What is begun; it is all done ``takes`` seconds later."""
        decision = self.residency.decide(self.now, self.facts)
        self.now += round(takes * NANO)
        for name, reason in decision.unload:
            self.residency.unloaded(name)
            self.unloads.append((name, reason))
        for name in decision.load:
            self.residency.loaded(name, self.now)
            self.loads.append(name)
        return decision

    def settle(self) -> Decision:
        """Until nothing is begun any more."""
        while (decision := self.decide()).load or decision.unload:
            pass
        return decision


def test_what_somebody_waits_for_is_loaded() -> None:
    house = House(100, a=60, b=60)
    assert house.settle() == Decision()
    house.set("a", first=5)
    house.settle()
    assert (house.loads, house.residency.state("a")) == (["a"], "loaded")


def test_who_is_first_in_line_is_loaded_first_and_nobody_takes_their_room() -> None:
    house = House(100, a=60, b=60, c=30)
    house.set("a", first=9)
    house.set("b", first=2)
    house.set("c", first=20)
    assert house.decide().load == ["b"], "the rest is kept for a, which comes before c"
    house.set("b", first=None)
    house.settle()
    assert house.loads == ["b", "a", "c"]


def test_a_small_one_behind_waits_for_a_large_one_before_it() -> None:
    """Else small models could keep the room from a large one for ever."""
    house = House(100, large=90, small=20, other=50)
    house.set("other", first=1)
    house.settle()
    house.set("other", first=1, running=True)
    house.set("large", first=5)
    house.set("small", first=6)
    assert house.settle().load == []
    assert house.loads == ["other"]


def test_the_least_recently_used_makes_room() -> None:
    house = House(100, a=40, b=40, c=40)
    for name in ("a", "b"):
        house.set(name, first=1)
        house.settle()
        house.set(name, first=None)
        house.now += NANO
        house.settle()
    house.set("a", running=True)
    house.settle()
    house.now += NANO
    house.set("a", running=False)
    house.settle()
    house.set("c", first=1)
    house.settle()
    assert house.unloads == [("b", "memory")]
    assert house.loads == ["a", "b", "c"]


def test_a_use_between_two_looks_counts_as_one() -> None:
    """Questions about tokens take milliseconds; a model that only answers those is in use, too."""
    house = House(100, a=40, b=40, c=40)
    for name in ("a", "b"):
        house.set(name, first=1)
        house.settle()
        house.set(name, first=None)
        house.settle()
        house.now += NANO
    house.residency.used("a", "", house.now, None)
    house.set("c", first=1)
    house.settle()
    assert house.unloads == [("b", "memory")]
    for _ in range(3):
        house.now += 200 * NANO
        house.residency.used("a", "", house.now, None)
        house.settle()
    assert house.residency.state("a") == "loaded", "its time begins anew with each use"
    house.now += 300 * NANO
    house.settle()
    assert ("a", "idle") in house.unloads


def test_an_unknown_need_is_measured_before_the_load() -> None:
    house = House(100, a=60)
    house.residency.add("new", None, None)
    house.facts["new"] = Facts()
    assert house.settle() == Decision()
    house.set("new", first=1)
    assert house.decide().measure == ["new"]
    assert house.decide() == Decision(), "it is being measured"
    house.residency.measured("new", 1000)
    house.set("a", first=0)
    assert house.settle().measure == []
    assert house.loads == ["a"], "all of the budget is for one that needs more"
    house.set("a", first=None)
    house.settle()
    assert house.loads == ["a", "new"]


def test_a_need_that_can_not_be_measured_is_tried_again() -> None:
    house = House(100)
    house.residency.add("new", None, None)
    house.facts["new"] = Facts(first=1)
    assert house.decide().measure == ["new"]
    house.residency.failed("new", house.now)
    assert house.decide().measure == []
    house.now += RETRY_FIRST_NS
    assert house.decide().measure == ["new"]


def test_one_that_is_not_loaded_can_be_forgotten() -> None:
    house = House(100, a=60, b=60)
    house.residency.remove("a")
    del house.facts["a"]
    assert house.residency.state("a") == "unloaded"
    house.set("b", first=1)
    house.settle()
    assert house.loads == ["b"]


def test_nothing_is_unloaded_when_that_would_not_do() -> None:
    house = House(100, a=40, b=60, c=100)
    for name in ("a", "b"):
        house.set(name, first=1)
        house.settle()
    house.set("a", first=None)
    house.set("b", first=None, running=True)
    house.set("c", first=0)
    house.now += 10 * NANO
    house.set("b", first=-5)
    assert house.settle().unload == []
    assert house.unloads == []


def test_a_busy_one_yields_to_who_comes_first_by_age() -> None:
    house = House(100, a=60, b=60)
    house.set("a", first=10)
    house.settle()
    house.set("a", first=20, running=True)
    house.set("b", first=15)
    assert house.settle().yields == {"a"}
    house.set("a", running=False)
    house.settle()
    assert house.unloads == [("a", "yielded")]
    assert house.loads == ["a", "b"]


def test_a_busy_one_does_not_yield_to_who_comes_later() -> None:
    house = House(100, a=60, b=60)
    house.set("a", first=10)
    house.settle()
    house.set("a", first=20, running=True)
    house.set("b", first=25)
    assert house.settle().yields == set()
    house.set("a", first=26)
    assert house.settle().yields == {"a"}
    house.set("a", first=24)
    assert house.settle().yields == set(), "somebody more urgent came"


def test_a_loaded_one_stays_for_a_while() -> None:
    house = House(100, a=60, b=60)
    house.set("a", first=10)
    house.decide(takes=2.0)
    house.set("a", first=20, running=True)
    house.set("b", first=15)
    decision = house.settle()
    assert (decision.yields, decision.wake_ns) == (set(), house.now + STAY * 2 * NANO)
    house.now += STAY * 2 * NANO
    assert house.settle().yields == {"a"}


def test_an_idle_one_is_unloaded_after_its_time() -> None:
    house = House(100, a=60)
    house.set("a", first=1)
    house.settle()
    house.set("a", first=None, running=True)
    house.settle()
    house.now += 1000 * NANO
    house.settle()
    house.set("a", running=False)
    due = house.now + 300 * NANO
    assert house.settle().wake_ns == due
    house.now = due - 1
    assert house.settle().unload == []
    house.now = due
    house.settle()
    assert house.unloads == [("a", "idle")]


# ------------------------------------------------------------------ what requests ask for


def idle_at(house: House, seconds: float) -> bool:
    """Whether a model without work is gone at that time; the clock may not go back."""
    house.now = round(seconds * NANO)
    house.settle()
    return house.residency.state("a") == "unloaded"


def used(*uses: tuple[float, str, float | None]) -> House:
    """A model of a keep_alive of 300 s after requests that ended: when, whose, and their wishes."""
    house = House(100, a=60)
    house.set("a", first=1)
    house.settle()
    house.set("a", first=None)
    for at, owner, wish in uses:
        house.now = round(at * NANO)
        house.residency.used("a", owner, house.now, None if wish is None else round(wish * NANO))
    return house


def test_a_wish_ends_it_sooner() -> None:
    house = used((10, "x", 5))
    assert not idle_at(house, 14.9)
    assert idle_at(house, 15)


def test_no_wish_keeps_it_longer() -> None:
    """What one client wants for ever, the others pay for."""
    for wish in (None, 301, 1e6):
        house = used((10, "x", wish))
        assert not idle_at(house, 309)
        assert idle_at(house, 310)


def test_a_wish_of_nothing_unloads_it() -> None:
    house = used((10, "x", None), (20, "x", 0))
    assert house.residency.due_ns("a") == 20 * NANO
    assert idle_at(house, 20)
    assert house.unloads == [("a", "idle")]


def test_it_speaks_for_its_client_alone() -> None:
    house = used((5, "y", None), (10, "x", 0))
    assert house.residency.due_ns("a") == 305 * NANO
    assert not idle_at(house, 304)
    assert idle_at(house, 305)


def test_of_very_many_clients_the_longest_time_counts() -> None:
    """No client, nor many names that one gives itself, takes memory or ends another's time."""
    house = used((5, "y", None), *((10, f"x{number}", 0) for number in range(3 * MOST_LEASES)))
    assert house.residency.due_ns("a") == 305 * NANO
    assert len(house.residency._models["a"].leases) == MOST_LEASES
    house.residency.used("a", "y", house.now, 0)
    assert not idle_at(house, 304), "that it is the same client is not known any more"
    assert idle_at(house, 305)
    assert house.residency._models["a"].leases == {}
    assert house.residency._models["a"].earlier_ns == 0


def test_it_is_known_if_others_count_on_it() -> None:
    house = used((10, "x", None), (10, "y", 5))
    policy = house.residency
    assert policy.others_keep("a", "y", 20 * NANO)
    assert policy.others_keep("a", "z", 20 * NANO)
    assert policy.others_keep("a", "x", 14 * NANO)
    assert not policy.others_keep("a", "x", 15 * NANO)
    assert not policy.others_keep("a", "z", 310 * NANO)
    lasting = LoadPolicy(100, {"a": (60, None)})
    lasting.used("a", "x", 0, None)
    lasting.used("a", "y", 0, 0)
    assert lasting.others_keep("a", "y", 10**6 * NANO)
    assert not lasting.others_keep("a", "x", 10**6 * NANO)


def test_nor_does_it_end_what_is_at_work() -> None:
    house = used((10, "x", 0))
    house.set("a", running=True)
    assert not idle_at(house, 1000)
    house.set("a", running=False, held=True)
    assert not idle_at(house, 2000)


def test_wishes_end_with_the_loaded_model() -> None:
    house = used((10, "x", 0))
    assert idle_at(house, 10)
    house.set("a", first=1)
    house.settle()
    assert house.residency.state("a") == "loaded"
    house.set("a", first=None)
    assert not idle_at(house, 12), "as a model that nobody has asked for yet"
    assert idle_at(house, 400)


def test_for_ever_is_the_operators_word() -> None:
    policy = LoadPolicy(100, {"a": (60, None)})
    policy.used("a", "x", 10 * NANO, 0)
    assert policy.due_ns("a") is None


def test_who_waits_for_a_slow_reader_is_not_idle() -> None:
    house = House(100, a=60)
    house.set("a", first=1)
    house.settle()
    house.set("a", first=None, held=True)
    house.now += 1000 * NANO
    assert house.settle() == Decision()


def test_a_failure_is_tried_again_later_and_later() -> None:
    house = House(100, a=60)
    house.set("a", first=1)
    pauses = []
    for _ in range(8):
        assert house.residency.decide(house.now, house.facts).load == ["a"]
        house.residency.failed("a", house.now)
        decision = house.residency.decide(house.now, house.facts)
        assert decision.load == []
        assert decision.wake_ns is not None
        pauses.append((decision.wake_ns - house.now) // RETRY_FIRST_NS)
        house.now = decision.wake_ns
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    house.residency.failed("a", house.now)
    house.residency.retry("a")
    assert house.settle().load == []
    assert house.residency.state("a") == "loaded"


def test_a_failed_one_takes_no_room() -> None:
    house = House(100, a=60, b=60)
    house.set("a", first=1)
    house.residency.decide(0, house.facts)
    house.residency.failed("a", 0)
    house.set("b", first=2)
    assert house.decide().load == ["b"]


def test_who_is_told_to_leave_finishes_what_runs() -> None:
    house = House(100, a=60)
    house.set("a", first=1)
    house.settle()
    house.set("a", running=True)
    house.residency.leave("a")
    assert house.settle().yields == {"a"}
    house.set("a", running=False)
    house.decide()
    assert house.unloads == [("a", "asked")]
    house.settle()
    assert house.loads == ["a", "a"], "somebody waits"
    house.set("a", first=None)
    house.settle()
    assert house.unloads == [("a", "asked")]


def test_one_that_is_too_large_is_loaded_alone() -> None:
    house = House(100, huge=500, a=10)
    house.set("a", first=1)
    house.settle()
    house.set("a", first=None)
    house.set("huge", first=2)
    house.settle()
    assert house.unloads == [("a", "memory")]
    assert house.residency.state("huge") == "loaded"


ARRIVALS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 1.0, 2.0]), st.integers(0, 3)),
    max_size=60,
)


@settings(max_examples=100)
@given(ARRIVALS, st.integers(60, 200))
def test_everybody_is_served_and_the_budget_holds(
    arrivals: list[tuple[str, float, int]], budget: int
) -> None:
    """A job takes a second, a load two; one slot for each model, and more jobs than it can do."""
    needs = {"a": 60, "b": 50, "c": 30}
    house = House(budget, **needs)
    heaps = {name: AgingHeap[int](0.2) for name in needs}
    running = dict.fromkeys(needs, 0)
    loading: dict[str, int] = {}
    left, served = list(arrivals), 0
    for now in range(40 + 20 * len(arrivals)):
        while left and (now >= left[0][2] * 10 or len(left) < 30):
            name, priority, _ = left.pop(0)
            heaps[name].push(0, priority, now * NANO)
        house.now = now * NANO
        running = {name: max(0, seconds - 1) for name, seconds in running.items()}
        for name in [each for each, due in loading.items() if due <= now]:
            house.residency.loaded(name, house.now)
            del loading[name]
        for name, heap in heaps.items():
            first = heap.first()
            house.facts[name] = Facts(first.key if first is not None else None, running[name] > 0)
        decision = house.residency.decide(house.now, house.facts)
        for name, _ in decision.unload:
            assert not running[name]
            house.residency.unloaded(name)
        loading |= dict.fromkeys(decision.load, now + 2)
        there = [name for name in needs if house.residency.state(name) in ("loading", "loaded")]
        assert sum(needs[name] for name in there) <= budget
        for name in there:
            may = house.residency.state(name) == "loaded" and name not in decision.yields
            if may and not running[name] and len(heaps[name]):
                heaps[name].pop()
                running[name] = 1
                served += 1
    assert served == len(arrivals)
