"""The environment of a worker's process."""

import multiprocessing
import os
from pathlib import Path

import pytest

from gateway.pool.process import _environment
from workers.protocol.children import worker_variables

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, "glibc.malloc.hugetlb=1"),
        ("", "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.check=3", "glibc.malloc.check=3:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0"),
    ],
)
def test_large_blocks_are_asked_for_in_huge_pages_unless_the_operator_says_more(
    monkeypatch: pytest.MonkeyPatch, said: str | None, expected: str
) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if said is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", said)
    assert worker_variables()["GLIBC_TUNABLES"] == expected


def _environ(path: str) -> None:
    Path(path).write_bytes(Path("/proc/self/environ").read_bytes())


def test_a_spawned_process_has_them_and_its_parent_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    before = dict(os.environ)
    found = tmp_path / "environ"
    process = multiprocessing.get_context("spawn").Process(target=_environ, args=(str(found),))
    with _environment():
        process.start()
    process.join()
    assert dict(os.environ) == before
    theirs = found.read_bytes().split(b"\0")
    assert b"GLIBC_TUNABLES=glibc.malloc.hugetlb=1" in theirs
    assert b"PYTHONSAFEPATH=1" in theirs
