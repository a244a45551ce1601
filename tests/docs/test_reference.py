"""The generated parts of the documentation are up to date: ``python -m tests.docs.reference``."""

import re

import pytest

from tests.docs.reference import METRICS, PARTS, metrics_table, shown
from tests.support.server import ForgeServer


@pytest.mark.parametrize("name", PARTS)
def test_parts_are_the_real_ones(name: str) -> None:
    page, made = PARTS[name]
    assert words(shown(name, page)) == words(made())


def words(text: str) -> list[str]:
    """Without what differs between versions of argparse: "-m MODEL, --model MODEL"."""
    return re.sub(r"(\s--?[a-z][\w-]*) [A-Z_]+(?=,)", r"\1", text).split()


def test_the_table_of_metrics_is_a_scrape(server: ForgeServer) -> None:
    assert shown("metrics", METRICS) == metrics_table(server)
