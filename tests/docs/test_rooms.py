"""The table of rooms in the documentation is the one that the imports are tested with."""

import re

import pytest

from tests.docs.pages import DOCS
from tests.test_borders import ROOMS

PAGE = DOCS / "architecture" / "index.md"


def table(package: str) -> dict[str, set[str]]:
    """Return room -> rooms it may import, as the page tells."""
    text = PAGE.read_text("utf-8")
    _, _, rest = text.partition(f"<!-- rooms of {package} -->")
    rows = re.findall(
        r"^\| `(\w+)` \| [^|\n]+ \|([^|\n]*)\|$", rest.partition("<!-- /rooms")[0], re.M
    )
    return {room: set(re.findall(r"\w+", others)) for room, others in rows}


@pytest.mark.parametrize("package", ROOMS)
def test_the_page_has_the_tested_table(package: str) -> None:
    assert table(package) == ROOMS[package]
