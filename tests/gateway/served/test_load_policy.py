"""Memory for models: which are loaded, which make room, and that none starves."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.clock import NANO
from gateway.ordering.aging import AgingHeap
from gateway.served.load_policy import QUIET_NS, RETRY_FIRST_NS, STAY, Decision, Facts
from tests.support.model_house import House


def test_what_somebody_waits_for_is_loaded() -> None:
    house = House(100, a=60, b=60)
    assert house.settle() == Decision()
    house.set("a", first=5)
    house.settle()
    assert (house.loads, house.policy.state("a")) == (["a"], "loaded")


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


def on_nodes() -> House:
    """Models a, b and c of a cluster; a and b are loaded, c waits for a place."""
    house = House(1 << 62, a=60, b=60, c=60)
    for name in ("a", "b"):
        house.set(name, first=1)
        house.settle()
        house.set(name, first=None, running=True)
        house.settle()
    house.now += 60 * NANO
    house.set("c", first=5)
    assert house.policy.decide(house.now, house.facts).load == ["c"], "whatever there is room for"
    house.set("c", cramped=True)
    return house


def test_a_load_without_a_place_on_a_node_evicts_one_idle_model_after_another() -> None:
    house = on_nodes()
    for name in ("b", "a"):
        house.set(name, running=False)
        house.decide()
        house.now += NANO
    assert house.unloads == [("b", "memory")]
    wake_ns = house.decide().wake_ns
    assert wake_ns is not None, "the place that was left may be found meanwhile"
    house.now = wake_ns - 1
    assert house.decide().unload == []
    house.now = wake_ns
    house.decide()
    assert house.unloads == [("b", "memory"), ("a", "memory")]


def test_a_load_without_a_place_lets_busy_models_run_dry_by_their_first_requests() -> None:
    house = on_nodes()
    house.set("a", first=2)
    assert house.decide().yields == {"b"}, "the next of a comes before c"
    house.set("b", running=False)
    assert house.decide().unload == [("b", "memory")]
    house.set("c", cramped=False)
    assert house.decide() == Decision()


def test_a_load_without_a_place_that_nothing_waits_for_is_given_up() -> None:
    house = on_nodes()
    house.set("c", first=None)
    assert house.decide() == Decision(give_up=["c"])
    assert house.policy.state("c") == "unloading"
    house.policy.unloaded("c")
    house.set("c", first=7, cramped=False)
    assert house.decide().load == ["c"]


def test_an_unknown_need_is_measured_before_the_load() -> None:
    house = House(100, a=60)
    house.policy.add("new", None, None)
    house.facts["new"] = Facts()
    assert house.settle() == Decision()
    house.set("new", first=1)
    assert house.decide().measure == ["new"]
    assert house.decide() == Decision(), "it is being measured"
    house.policy.measured("new", 1000)
    house.set("a", first=0)
    assert house.settle().measure == []
    assert house.loads == ["a"], "all of the budget is for one that needs more"
    house.set("a", first=None)
    house.settle()
    assert house.loads == ["a", "new"]


def test_a_need_that_can_not_be_measured_is_tried_again() -> None:
    house = House(100)
    house.policy.add("new", None, None)
    house.facts["new"] = Facts(first=1)
    assert house.decide().measure == ["new"]
    house.policy.failed("new", house.now)
    assert house.decide().measure == []
    house.now += RETRY_FIRST_NS
    assert house.decide().measure == ["new"]


def test_one_that_is_not_loaded_can_be_forgotten() -> None:
    house = House(100, a=60, b=60)
    house.policy.remove("a")
    del house.facts["a"]
    assert house.policy.state("a") == "unloaded"
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


def test_a_failure_is_tried_again_later_and_later() -> None:
    house = House(100, a=60)
    house.set("a", first=1)
    pauses = []
    for _ in range(8):
        assert house.policy.decide(house.now, house.facts).load == ["a"]
        house.policy.failed("a", house.now)
        decision = house.policy.decide(house.now, house.facts)
        assert decision.load == []
        assert decision.wake_ns is not None
        pauses.append((decision.wake_ns - house.now) // RETRY_FIRST_NS)
        house.now = decision.wake_ns
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    house.policy.failed("a", house.now)
    house.policy.retry("a")
    assert house.settle().load == []
    assert house.policy.state("a") == "loaded"


def test_a_failed_one_takes_no_room() -> None:
    house = House(100, a=60, b=60)
    house.set("a", first=1)
    house.policy.decide(0, house.facts)
    house.policy.failed("a", 0)
    house.set("b", first=2)
    assert house.decide().load == ["b"]


def test_who_is_told_to_leave_finishes_what_runs() -> None:
    house = House(100, a=60)
    house.set("a", first=1)
    house.settle()
    house.set("a", running=True)
    house.policy.leave("a")
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
    assert house.policy.state("huge") == "loaded"


def test_spare_work_loads_a_model_where_there_is_room() -> None:
    house = House(100, a=60, b=60)
    house.set("b", spare_waits=True)
    house.settle()
    assert house.policy.state("b") == "loaded"


def test_spare_work_comes_after_all_others() -> None:
    house = House(100, a=60, b=60)
    house.set("a", spare_waits=True)
    house.set("b", first=10**18)
    assert house.decide().load == ["b"]


def test_spare_work_evicts_no_model_that_others_use() -> None:
    house = House(100, a=60, b=60)
    house.set("a", first=1)
    house.settle()
    house.set("b", spare_waits=True)
    for facts in (Facts(first=1), Facts(running=True), Facts(held=True), Facts()):
        house.facts["a"] = facts
        house.now += 299 * NANO
        assert house.settle().yields == set()
        assert house.unloads == []
    house.now += 300 * NANO  # its keep_alive is over
    house.settle()
    assert house.unloads == [("a", "idle")]
    assert house.policy.state("b") == "loaded"


def test_spare_work_waits_for_quiet_where_a_model_stays_for_ever() -> None:
    house = House(100)
    for name in "ab":
        house.policy.add(name, 60, None)
        house.facts[name] = Facts()
    house.set("a", first=1)
    house.settle()
    house.set("a", first=None)
    house.settle()
    house.set("b", spare_waits=True)
    assert house.settle().wake_ns == house.now + QUIET_NS
    house.now += QUIET_NS
    house.settle()
    assert house.unloads == [("a", "memory")]
    assert house.policy.state("b") == "loaded"


def test_spare_work_evicts_no_other_spare_work() -> None:
    house = House(100, a=60, b=60)
    house.set("a", spare_waits=True)
    house.settle()
    house.set("b", spare_waits=True)
    house.now += 10**6 * NANO
    house.settle()
    assert house.unloads == []
    house.set("a", spare_waits=False)
    house.settle()
    assert house.loads == ["a", "b"]


def test_a_model_at_spare_work_makes_room_at_once() -> None:
    house = House(100, a=60, b=60)
    house.set("a", spare_waits=True)
    while (decision := house.decide(takes=5.0)).load or decision.unload:
        pass
    house.set("a", running=True, spare_runs=True)
    house.set("b", first=10**18)
    assert house.settle().yields == {"a"}, "no matter that it was loaded just now"
    house.set("a", running=False, spare_runs=False)
    house.settle()
    assert house.unloads == [("a", "memory")]
    assert house.policy.state("b") == "loaded"


def test_spare_work_renews_no_keep_alive() -> None:
    house = House(100, a=60)
    house.set("a", first=1)
    house.decide(takes=2.0)
    house.set("a", first=None)
    house.settle()
    due_ns = house.policy.due_ns("a")
    house.set("a", running=True, spare_runs=True)
    house.now += 1000 * NANO
    assert house.settle() == Decision(), "it stays while it computes"
    assert house.policy.due_ns("a") == due_ns
    house.set("a", running=False, spare_runs=False)
    assert house.settle().wake_ns == house.now + STAY * 2 * NANO, "more of it may come"
    house.now += STAY * 2 * NANO
    house.settle()
    assert house.unloads == [("a", "idle")]


def test_the_least_recently_used_is_not_the_one_at_spare_work() -> None:
    house = House(130, a=60, b=60, c=60)
    house.set("a", first=1)
    house.settle()
    house.set("a", first=None)
    house.now += 10 * NANO
    house.set("b", first=2)
    house.settle()
    house.set("b", first=None)
    house.settle()
    house.now += 10 * NANO
    house.set("a", spare_waits=True)
    house.settle()
    house.set("c", first=3)
    house.settle()
    assert house.unloads == [("a", "memory")]


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
            house.policy.loaded(name, house.now)
            del loading[name]
        for name, heap in heaps.items():
            first = heap.first()
            house.facts[name] = Facts(first.key if first is not None else None, running[name] > 0)
        decision = house.policy.decide(house.now, house.facts)
        for name, _ in decision.unload:
            assert not running[name]
            house.policy.unloaded(name)
        loading |= dict.fromkeys(decision.load, now + 2)
        there = [name for name in needs if house.policy.state(name) in ("loading", "loaded")]
        assert sum(needs[name] for name in there) <= budget
        for name in there:
            may = house.policy.state(name) == "loaded" and name not in decision.yields
            if may and not running[name] and len(heaps[name]):
                heaps[name].pop()
                running[name] = 1
                served += 1
    assert served == len(arrivals)
