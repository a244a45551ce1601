"""The calendar in UTC, against Python's own."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.periods import DAY_S, date_of, hour_of, month_before, periods_of

MOMENTS = st.integers(0, 32503680000)
"""Up to the year 3000."""


@given(MOMENTS)
def test_dates_are_those_of_the_calendar(now: int) -> None:
    at = datetime.fromtimestamp(now, UTC)
    assert date_of(now) == (at.year, at.month, at.day)
    assert date_of(now).days() == now // DAY_S
    assert hour_of(now + 0.999) == now // 3600


@given(MOMENTS)
def test_periods_hold_the_moment_and_end_with_the_next_ones_begin(now: int) -> None:
    at = datetime.fromtimestamp(now, UTC)
    day, month = periods_of(now)
    assert (day.name, month.name) == (f"{at:%Y-%m-%d}", f"{at:%Y-%m}")
    for period in (day, month):
        assert now < period.ends
        assert periods_of(period.ends - 1)[period is month].name == period.name
        assert periods_of(period.ends)[period is month].name > period.name
    before = at.replace(day=1) - timedelta(days=1)
    assert month_before(now) == f"{before:%Y-%m}"
    assert month_before(now) < month.name
