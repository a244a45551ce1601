"""Hours, days and months in UTC, as usage and budgets count them. Pure.

The calendar is computed here, for `datetime` reads the clock, too: days since 1970 become a date
by H. Hinnant's ``civil_from_days``, which counts years from March on: a leap day is their last.
"""

from typing import NamedTuple

HOUR_S = 3600
DAY_S = 24 * HOUR_S
TO_1970 = 719468
"""Days from March 1 of the year 0 to 1970."""
ERA_DAYS = 146097
"""Days of 400 years."""


def hour_of(now: float) -> int:
    """Return the number of the hour: whole ones since the beginning of 1970."""
    return int(now // HOUR_S)


class Date(NamedTuple):
    """A day of the calendar."""

    year: int
    month: int
    day: int

    @property
    def name(self) -> str:
        """Return it as ISO 8601 writes it."""
        return f"{self.year:04}-{self.month:02}-{self.day:02}"

    @property
    def month_name(self) -> str:
        return self.name[:7]

    def next_month(self) -> "Date":
        """Return the first day of the month after it."""
        return Date(self.year + self.month // 12, self.month % 12 + 1, 1)

    def days(self) -> int:
        """Return its days since 1970."""
        year = self.year - (self.month <= 2)
        era, in_era = divmod(year, 400)
        in_year = (153 * ((self.month - 3) % 12) + 2) // 5 + self.day - 1
        return era * ERA_DAYS + in_era * 365 + in_era // 4 - in_era // 100 + in_year - TO_1970


def date_of(now: float) -> Date:
    """Return the date of a moment."""
    era, day = divmod(int(now // DAY_S) + TO_1970, ERA_DAYS)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    in_year = day - (365 * year + year // 4 - year // 100)
    month = (5 * in_year + 2) // 153
    number = month + 3 if month < 10 else month - 9
    return Date(year + era * 400 + (number <= 2), number, in_year - (153 * month + 2) // 5 + 1)


class Period(NamedTuple):
    """A day or a month."""

    name: str
    """``2026-11-30`` or ``2026-11``: names of later ones are greater, as texts."""
    ends: int
    """The first Unix second after it."""


class Periods(NamedTuple):
    """The day and the month of a moment."""

    day: Period
    month: Period


def periods_of(now: float) -> Periods:
    """Return the day and the month of a moment."""
    date = date_of(now)
    return Periods(
        Period(date.name, (int(now // DAY_S) + 1) * DAY_S),
        Period(date.month_name, date.next_month().days() * DAY_S),
    )


def month_before(now: float) -> str:
    """Return the name of the month before that of a moment."""
    first = date_of(now)._replace(day=1).days()
    return date_of((first - 1) * DAY_S).month_name
