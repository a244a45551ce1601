"""Time that a model stays loaded without work: the operator's, and the wishes of requests."""

from gateway.core.clock import NANO
from gateway.served.load_policy import MOST_LEASES, Decision, LoadPolicy
from tests.support.model_house import House


def test_a_use_between_two_looks_counts_as_one() -> None:
    """Questions about tokens take milliseconds; a model that only answers those is in use, too."""
    house = House(100, a=40, b=40, c=40)
    for name in ("a", "b"):
        house.set(name, first=1)
        house.settle()
        house.set(name, first=None)
        house.settle()
        house.now += NANO
    house.policy.used("a", "", house.now, None)
    house.set("c", first=1)
    house.settle()
    assert house.unloads == [("b", "memory")]
    for _ in range(3):
        house.now += 200 * NANO
        house.policy.used("a", "", house.now, None)
        house.settle()
    assert house.policy.state("a") == "loaded", "its time begins anew with each use"
    house.now += 300 * NANO
    house.settle()
    assert ("a", "idle") in house.unloads


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
    """Return whether a model without work is gone at that time; the clock may not go back."""
    house.now = round(seconds * NANO)
    house.settle()
    return house.policy.state("a") == "unloaded"


def used(*uses: tuple[float, str, float | None]) -> House:
    """A model of a keep_alive of 300 s after requests that ended: when, whose, and their wishes."""
    house = House(100, a=60)
    house.set("a", first=1)
    house.settle()
    house.set("a", first=None)
    for at, client, wish in uses:
        house.now = round(at * NANO)
        house.policy.used("a", client, house.now, None if wish is None else round(wish * NANO))
    return house


def test_a_wish_ends_it_sooner() -> None:
    house = used((10, "x", 5))
    assert not idle_at(house, 14.9)
    assert idle_at(house, 15)


def test_no_wish_keeps_it_longer() -> None:
    """A model that one client wants for ever costs the others."""
    for wish in (None, 301, 1e6):
        house = used((10, "x", wish))
        assert not idle_at(house, 309)
        assert idle_at(house, 310)


def test_a_wish_of_nothing_unloads_it() -> None:
    house = used((10, "x", None), (20, "x", 0))
    assert house.policy.due_ns("a") == 20 * NANO
    assert idle_at(house, 20)
    assert house.unloads == [("a", "idle")]


def test_it_speaks_for_its_client_alone() -> None:
    house = used((5, "y", None), (10, "x", 0))
    assert house.policy.due_ns("a") == 305 * NANO
    assert not idle_at(house, 304)
    assert idle_at(house, 305)


def test_of_very_many_clients_the_longest_time_counts() -> None:
    """No client, nor many names that one gives itself, takes memory or ends another's time."""
    house = used((5, "y", None), *((10, f"x{number}", 0) for number in range(3 * MOST_LEASES)))
    assert house.policy.due_ns("a") == 305 * NANO
    assert len(house.policy._models["a"].leases) == MOST_LEASES
    house.policy.used("a", "y", house.now, 0)
    assert not idle_at(house, 304), "that it is the same client is not known any more"
    assert idle_at(house, 305)
    assert house.policy._models["a"].leases == {}
    assert house.policy._models["a"].earlier_ns == 0


def test_it_is_known_if_others_count_on_it() -> None:
    policy = used((10, "x", None), (10, "y", 5)).policy
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
    assert house.policy.state("a") == "loaded"
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
