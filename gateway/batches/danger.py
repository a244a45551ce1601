"""Danger that a batch expires before it is done, told from the rate of its lines. Pure.

An example: 1,000 lines, 24 hours. After 6 hours 100 are done, so that the other 900 need 54 hours
of the 18 that are left: in danger, its lines rise to normal priority. They come faster now; once
the rest needs less than half of the time that is left, they are spare again. In the first twentieth
of its time a batch is not judged, unless little time is left at all.
"""

JUDGED_AFTER = 0.05
"""Part of a batch's time."""
CALM = 0.5
"""Part of the time that is left within which the rest must be done for the danger to be over."""


def in_danger(
    *, now: float, begun: float, expires: float, total: int, done: int, before: bool
) -> bool:
    """Return whether the lines of a batch must hurry; ``before``: they do already.

    ``begun``: when the first line could run; ``done``: lines with a result.
    """
    left, rest = expires - now, total - done
    if rest <= 0 or left <= 0:
        return False
    spent = now - begun
    if spent < JUDGED_AFTER * (expires - begun):
        return before
    needed = rest * spent / done if done else float("inf")
    return needed > left * (CALM if before else 1.0)
