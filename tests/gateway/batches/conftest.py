"""One desk for each test of a batch's life."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.batches.desk import Desk, running


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path / "data") as desk:
        yield desk
