"""Tests of how long threads wait awake for each other."""

from workers.planning.spin_policy import EARLY, FIRST, LONGEST, SHORTEST, SMOOTH, SpinPolicy

LOOK = 0.1


def after(policy: SpinPolicy, seconds: float, share: float) -> bool:
    """Look for so long at two threads that wait so much of their time for a core."""
    for _ in range(round(seconds / LOOK)):
        policy.look(LOOK, 2 * LOOK * (1 - share), 2 * LOOK * share)
    return policy.spins_long


def spinning() -> SpinPolicy:
    """Return a policy that lets threads spin, after some calm."""
    policy = SpinPolicy()
    assert after(policy, SHORTEST + 2 * SMOOTH, share=0.01)
    return policy


def crowded() -> SpinPolicy:
    """Return a policy whose threads have waited for cores."""
    policy = SpinPolicy()
    assert not after(policy, 2 * SMOOTH, share=0.4)
    return policy


def ended() -> SpinPolicy:
    """Return a policy whose threads span for long, and then had to wait for cores."""
    policy = spinning()
    assert after(policy, EARLY, share=0.01)
    assert not after(policy, 0.5, share=0.4)
    return policy


def test_at_first_a_moment_of_calm_is_enough() -> None:
    policy = SpinPolicy()
    assert not policy.spins_long
    assert not after(policy, FIRST - LOOK, share=0.01)
    assert after(policy, LOOK, share=0.01)


def test_a_crowd_at_first_is_seen_at_once() -> None:
    assert not after(SpinPolicy(), 100, share=0.4)


def test_threads_spin_again_after_some_calm_and_not_before() -> None:
    policy = ended()
    assert not after(policy, SHORTEST - LOOK, share=0.01)
    assert after(policy, 2 * SMOOTH, share=0.01)


def test_a_crowd_ends_spinning_within_half_a_second() -> None:
    assert not after(spinning(), 0.5, share=0.4)


def test_a_core_that_is_taken_for_a_moment_changes_nothing() -> None:
    policy = spinning()
    for _ in range(20):
        assert after(policy, LOOK, share=0.4)
        assert after(policy, 1, share=0.01)


def test_calm_is_calm_without_interruption() -> None:
    policy = ended()
    for _ in range(10):
        assert not after(policy, SHORTEST - LOOK, share=0.01)
        assert not after(policy, 2 * LOOK, share=0.4)


def test_between_the_two_limits_all_stays_as_it_is() -> None:
    assert not after(crowded(), 100, share=0.1)
    assert not after(SpinPolicy(), 100, share=0.1)
    assert after(spinning(), 100, share=0.1)


def test_idle_threads_say_nothing() -> None:
    """Their few milliseconds are all waiting, or none."""
    policy = SpinPolicy()
    for _ in range(1000):
        policy.look(LOOK, 0.001, 0)
    assert not policy.spins_long
    policy = spinning()
    for _ in range(1000):
        policy.look(LOOK, 0.001, 0.008)
    assert policy.spins_long


def test_spinning_too_early_is_tried_less_often() -> None:
    """Work that comes and goes costs an attempt now and then, not one every other second."""
    policy, attempts = SpinPolicy(), 0
    for _ in range(1000):
        if after(policy, 1, share=0.01):
            attempts += 1
            after(policy, 1, share=0.4)
    assert attempts < 1000 / LONGEST + 8


def test_after_long_spinning_calm_may_be_short_again() -> None:
    policy = SpinPolicy()
    for _ in range(20):
        assert after(policy, SHORTEST + 2 * SMOOTH, share=0.01)
        after(policy, EARLY, share=0.01)
        assert not after(policy, 0.5, share=0.4)
