"""The memory bench: its arithmetic, and what it reads of a process."""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("rich", reason="the benchmarks need the extra [bench]")

from bench.memory import Footprint, markdown, pss, rows


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_mappings_of_a_file_are_told_from_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"x" * (4 << 20))
    assert pss(os.getpid(), file)[0] == 0
    with file.open("rb") as stream:
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
            assert sum(view[:: mmap.PAGESIZE]) > 0  # every page is touched
            mapped, total = pss(os.getpid(), file)
        assert mapped == 4 << 10
        assert total > mapped
        assert pss(os.getpid(), file)[0] == 0


def test_rows_are_beside_one_worker() -> None:
    found = {
        (False, 1): Footprint(weights=1024, own=2048, others=1024),
        (False, 2): Footprint(weights=1024, own=4096, others=1024),
        (True, 1): Footprint(weights=0, own=1024, others=1024),
    }
    assert rows(found) == [
        ("mapped", "1", "1", "2", "1", "4", "1.00"),
        ("mapped", "2", "1", "4", "1", "6", "1.50"),
        ("repacked", "1", "0", "1", "1", "2", "1.00"),
    ]
    assert "| mapped | 2 | 1 | 4 | 1 | 6 | 1.50 |" in markdown("m", 64, found)
