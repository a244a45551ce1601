"""The laws of archives, in memory and in SQLite."""

import functools
from pathlib import Path

import pytest

from tests.support.archive_laws import ArchiveLaws, Open
from tests.support.archives import opened

pytestmark = pytest.mark.anyio


class TestMemory(ArchiveLaws):
    @pytest.fixture
    def archives(self) -> Open:
        return functools.partial(opened, None)


class TestSqlite(ArchiveLaws):
    @pytest.fixture
    def archives(self, tmp_path: Path) -> Open:
        return functools.partial(opened, str(tmp_path / "forge.db"))
