"""Moments as people write them."""

import pytest

from gateway.core.moments import moment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1795996800", 1795996800),
        ("0", 0),
        ("1.5", 1.5),
        ("2026-11-30", 1795996800),
        ("2026-11-30T08:00", 1796025600),
        ("2026-11-30T08:00:00Z", 1796025600),
        ("2026-11-30T10:00+02:00", 1796025600),
    ],
)
def test_moments(text: str, seconds: float) -> None:
    assert moment(text) == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "nan", "inf", "-1", "1e99", "2026-13-01"])
def test_others_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 2026-11-30"):
        moment(text)
