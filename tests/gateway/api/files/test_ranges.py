import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.files.ranges import content_range, wanted
from gateway.core.errors import RangeNotSatisfiable

TAG = '"file-1"'


def part(header: str | None, size: int, condition: str | None = None) -> range | None:
    return wanted(header, condition, TAG, size)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", range(1)),
        ("bytes=900-", range(900, 1000)),
        ("bytes=-100", range(900, 1000)),
        ("bytes=-5000", range(1000)),
        ("bytes=10-5000", range(10, 1000)),
        ("BYTES= 10-19 ", range(10, 20)),
    ],
)
def test_one_range(header: str, expected: range) -> None:
    assert part(header, 1000) == expected
    assert part(header, 1000, TAG) == expected
    assert part(header, 1000, '"file-2"') is None
    assert part(header, 1000, "Wed, 21 Oct 2015 07:28:00 GMT") is None


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=5-4",
        "bytes=a-b",
        "bytes=0-1,3-4",
        "lines=0-1",
        "bytes=-1-2",
        "bytes=+1-2",
        "bytes=\N{ARABIC-INDIC DIGIT ONE}-2",
        "bytes=" + "9" * 5000 + "-",
    ],
)
def test_what_is_no_single_range_is_ignored(header: str | None) -> None:
    assert part(header, 1000) is None


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-2000", "bytes=-0"])
def test_beyond_the_end(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        part(header, 1000)
    assert caught.value.size == 1000


@given(st.integers(0, 40), st.integers(0, 50), st.integers(0, 50))
def test_parts_are_slices(size: int, first: int, last: int) -> None:
    data = bytes(range(size))
    headers = {f"bytes={first}-": data[first:], f"bytes=-{last}": data[-last:] if last else b""}
    if first <= last:
        headers[f"bytes={first}-{last}"] = data[first : last + 1]
    for header, expected in headers.items():
        if expected:
            found = part(header, size)
            assert found is not None
            assert data[found.start : found.stop] == expected
            assert content_range(found, size).endswith(f"/{size}")
        else:
            with pytest.raises(RangeNotSatisfiable):
                part(header, size)
