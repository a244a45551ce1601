"""Cores, quotas and names, from files as Linux writes them."""

from pathlib import Path

import pytest

from gateway.system.host import (
    available_cores,
    cpu_model,
    cpu_quota,
    llama_cpp_build,
    memory_available,
    this_machine,
)


def system(root: Path, group: str, limits: dict[str, str]) -> Path:
    """A tree with a control group of its own and ``cpu.max`` in some folders."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"9:name=systemd:/\n0::{group}\n")
    for folder, text in limits.items():
        place = root / "sys/fs/cgroup" / folder
        place.mkdir(parents=True, exist_ok=True)
        (place / "cpu.max").write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("group", "limits", "quota"),
    [
        ("/", {}, None),
        ("/", {"": "max 100000"}, None),
        ("/", {"": "150000 100000"}, 1.5),
        ("/a/b", {"a/b": "max 100000", "a": "100000 50000"}, 2.0),
        ("/a/b", {"a/b": "50000 100000", "a": "300000 100000"}, 0.5),
        ("/a", {"a": "nonsense"}, None),
    ],
)
def test_quota(group: str, limits: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    root = system(tmp_path, group, limits)
    assert cpu_quota(root) == quota
    without = available_cores(tmp_path / "nothing")
    expected = without if quota is None else max(1, min(without, int(quota)))
    assert available_cores(root) == expected


def test_where_nothing_is_told(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    assert memory_available(tmp_path) is None
    assert cpu_model(tmp_path)


def test_names_and_memory(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: A CPU @ 2 GHz\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    7 kB\n")
    assert cpu_model(tmp_path) == "A CPU @ 2 GHz"
    assert memory_available(tmp_path) == 7 * 1024


def test_this_machine() -> None:
    machine = this_machine()
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.llama_cpp_python[0].isdigit()
    assert machine.build == llama_cpp_build() != ""


def test_builds_of_llama_cpp_are_told_apart(tmp_path: Path) -> None:
    """By what they are, not by when they were installed."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "libggml-cpu.so").write_bytes(b"code")
    first, same = (llama_cpp_build({"LLAMA_CPP_LIB_PATH": str(each)}) for each in (one, two))
    (two / "libggml-cpu.so").write_bytes(b"more code")
    assert first == same != llama_cpp_build({"LLAMA_CPP_LIB_PATH": str(two)})
    assert llama_cpp_build({"LLAMA_CPP_LIB_PATH": str(tmp_path / "none")}) == ""


def test_a_groups_limit_counts_and_its_cached_files_do_not(tmp_path: Path) -> None:
    """Of the groups around a process the tightest decides."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/outer/inner\n")
    (tmp_path / "proc/meminfo").write_text("MemAvailable: 1000 kB\n")
    for name, limit in (("outer", "700000"), ("outer/inner", "max")):
        group = tmp_path / "sys/fs/cgroup" / name
        group.mkdir(parents=True)
        (group / "memory.max").write_text(limit)
        (group / "memory.current").write_text("300000")
    assert memory_available(tmp_path) == 400_000
    (tmp_path / "sys/fs/cgroup/outer/memory.stat").write_text("anon 5\ninactive_file 50000\n")
    assert memory_available(tmp_path) == 450_000
    (tmp_path / "sys/fs/cgroup/outer/inner/memory.max").write_text("200000")
    assert memory_available(tmp_path) == 0
