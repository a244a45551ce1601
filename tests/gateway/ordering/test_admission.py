"""Bounds on the queue, and the rate at which it is served."""

import pytest

from gateway.core.clock import NANO
from gateway.ordering.admission import RETRY_MAX_S, Admission, ServiceRate


def test_who_left_is_counted_no_more() -> None:
    admission: Admission[str] = Admission()
    admission.enter("a", 60)
    assert "a" in admission
    assert admission.leave("a")
    assert not admission.leave("a"), "a second time changes nothing"
    assert "a" not in admission
    assert (len(admission), admission.size) == (0, 0)


def test_rate_before_any_start() -> None:
    rate = ServiceRate()
    assert rate.wait_s(5, NANO) is None
    assert rate.retry_after(5, NANO) == 1


def test_rate_of_a_steady_service() -> None:
    rate = ServiceRate(window=10)
    for second in range(100):
        rate.mark(second * NANO // 2)  # two a second
    now = 100 * NANO // 2
    assert rate.wait_s(0, now) == pytest.approx(0.5)
    assert rate.wait_s(9, now) == pytest.approx(5.0)
    assert rate.retry_after(9, now) == 5


def test_rate_of_a_service_that_stopped() -> None:
    """Nothing starts any more: the estimate grows with the silence, up to the limit."""
    rate = ServiceRate()
    rate.mark(0)
    assert rate.retry_after(0, 20 * NANO) == 20
    assert rate.retry_after(0, 10_000 * NANO) == RETRY_MAX_S


def test_time_without_work_does_not_count() -> None:
    rate = ServiceRate()
    for tenth in range(100):
        rate.mark(tenth * NANO // 10)
    rate.pause(10 * NANO)
    rate.resume(3600 * NANO)
    assert rate.wait_s(0, 3600 * NANO) == pytest.approx(0.1)
