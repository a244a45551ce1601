"""A hub on this machine."""

from collections.abc import Iterator

import pytest

from tests.support.hub import Hub, serving


@pytest.fixture
def hub() -> Iterator[Hub]:
    yield from serving(Hub())
