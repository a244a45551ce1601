"""The checks of forge doctor, on made-up machines and on this one."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli.doctor import (
    compiler,
    cpu_features,
    finding,
    llama,
    machine,
    packages,
    served,
)
from gateway.cli.doctor.finding import Finding, error, ok, warning
from gateway.cli.main import main
from gateway.config.config import ConfigError
from workers.llama import build

CPUINFO = Path("/proc/cpuinfo")


def test_the_report_tells_level_check_message_and_advice() -> None:
    found = [
        ok("python", "3.11"),
        warning("gpu", "idle\x1b[2J", "do\nthis"),
        error("port", "b", "c"),
    ]
    lines = finding.as_text(found, None).splitlines()
    assert lines[0].split() == ["ok", "python", "3.11"]
    assert lines[1].split() == ["warning", "gpu", r"idle\x1b[2J"]
    assert lines[2].strip() == r"to do: do\nthis"
    assert lines[-1] == "1 error, 1 warning: forge serve needs this."
    assert finding.worst(found[:2]) == "warning"
    assert finding.summary(found[:1]) == "All is well: forge serve."


@pytest.mark.parametrize("width", [1, 40, 72, 200])
def test_the_report_fits_the_terminal(width: int) -> None:
    text = finding.as_text([error("port", "a word " * 50, "an advice " * 30)], width)
    assert max(map(len, text.splitlines()[:-1])) <= max(width, 2 * finding.INDENT)
    assert text.count("word") == 50


def test_cpu_and_build_are_compared() -> None:
    cpu = cpu_features.flags("processor : 0\nflags\t\t: pni ssse3 avx avx2 fma f16c\n")
    same = dict.fromkeys(("SSE3", "SSSE3", "AVX", "AVX2", "FMA", "F16C"), "1")
    assert cpu_features.compared(same, cpu) == ([], [])
    assert cpu_features.compared({**same, "AVX2": "0"}, cpu).unused == ["AVX2"]
    assert cpu_features.compared({**same, "AVX512": "1"}, cpu).absent == ["AVX512"]
    # What ggml calls SVE_CNT or OPENMP is not a flag of the CPU.
    assert cpu_features.compared({**same, "OPENMP": "1", "SVE_CNT": "16"}, cpu) == ([], [])
    assert cpu_features.flags("") == frozenset()


def test_arm_features_are_known() -> None:
    cpu = cpu_features.flags("processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp i8mm sve\n")
    build = {"NEON": "1", "DOTPROD": "1"}
    assert cpu_features.compared(build, cpu).unused == ["FP16_VA", "MATMUL_INT8", "SVE"]


def root(folder: Path, cpuinfo: str = "", **files: str) -> Path:
    """A machine's files below ``folder``."""
    given = {"proc/cpuinfo": cpuinfo, **{name.replace("__", "/"): it for name, it in files.items()}}
    for name, text in given.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_build_for_another_cpu_is_told(tmp_path: Path) -> None:
    here = root(tmp_path, "model name : Old\nflags : pni\n")
    newer = llama.cpu({"SSE3": "1", "AVX2": "1"}, here)
    assert newer.level == "error"
    assert "AVX2" in newer.message
    assert "--no-binary" in newer.advice
    older = llama.cpu({"SSE3": "1"}, root(tmp_path, "flags : pni avx2\n"))
    assert (older.level, "AVX2" in older.message) == ("warning", True)


def test_a_gpu_that_the_build_can_not_use_is_told(tmp_path: Path) -> None:
    here = root(tmp_path, proc__driver__nvidia__version="NVRM version: 1")
    (unused,) = llama.gpu(False, here)
    assert unused.level == "warning"
    assert "-DGGML_CUDA=on" in unused.advice
    (to_come,) = llama.gpu(None, here)
    assert "-DGGML_CUDA=on" in to_come.advice
    (used,) = llama.gpu(True, here)
    assert used.level == "ok"


def test_what_llama_cpp_tells_of_itself_is_read() -> None:
    told = "CPU : SSE3 = 1 | AVX2 = 1 | REPACK = 1 | CUDA : ARCHS = 900 | F16 = 1 | "
    assert build.features(told) == {
        "CPU": {"SSE3": "1", "AVX2": "1", "REPACK": "1"},
        "CUDA": {"ARCHS": "900", "F16": "1"},
    }


@pytest.mark.skipif(not CPUINFO.exists(), reason="no /proc")
def test_this_llama_cpp_runs_on_this_cpu() -> None:
    found = {each.check: each for each in llama.llama()}
    assert found["llama.cpp"].level == "ok"
    assert found["cpu"].level != "error"
    assert ("amx" in found) is llama.built()["amx_fails"]
    if "amx" in found:
        assert "-mno-amx-int8" in found["amx"].advice


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("it dies of SIGILL", "built for another CPU"),
        ("OSError: libgomp.so.1: cannot open shared object file", "libgomp1"),
        ("anything", "pip install"),
    ],
)
def test_each_reason_has_a_remedy(reason: str, remedy: str) -> None:
    assert remedy in llama._remedy(reason)


def test_a_module_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a llama_cpp that does what one for another CPU does, before any of ours is run."""
    (tmp_path / "llama_cpp.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(llama.LlamaUnusable, match="SIGILL"):
        llama.built()


def compilers(needed: bool) -> list[Finding]:
    return list(compiler.compiler(needed=needed))


def test_a_missing_compiler_matters_only_before_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("CXX", raising=False)
    (needed,) = compilers(True)
    assert needed.level == "error"
    assert needed.advice
    (unneeded,) = compilers(False)
    assert unneeded.level == "ok"


def test_a_compiler_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "c++"
    broken.write_text('#!/bin/sh\necho "error: no c++17 here" >&2\nexit 1\n')
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    (found,) = compilers(True)
    assert found.level == "error"
    assert "no c++17 here" in found.message


@pytest.mark.skipif(compiler.found() is None, reason="no compiler here")
def test_this_compiler_builds() -> None:
    command = compiler.found() or []
    assert compiler.trial(command, ()) is None
    assert compiler.trial(command, ("-fno-such-thing",)) is not None


def program(path: Path, text: str) -> Path:
    """A script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("ccache g++-13 -m64", ["ccache", "g++-13", "-m64"]),
        ("{bin}/my tools/g++", ["my tools/g++"]),
        ("'{bin}/my tools/g++' -m64", ["my tools/g++", "-m64"]),
        ("no-such-compiler", ["c++"]),
        ("'unfinished", ["c++"]),
        ("", ["c++"]),
    ],
)
def test_a_compiler_is_a_command_with_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, taken: list[str]
) -> None:
    for name in ("ccache", "c++", "my tools/g++"):
        program(tmp_path / name, "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", said.format(bin=tmp_path))
    assert compiler.found() == [str(tmp_path / taken[0]), *taken[1:]]


def test_a_compiler_behind_a_wrapper_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ccache does, the wrapper calls the command that follows."""
    program(tmp_path / "wrapper", 'exec "$@"')
    compiles = program(
        tmp_path / "real",
        """\
while [ $# -gt 1 ]; do [ "$1" = -o ] && out=$2; shift; done
[ -z "$out" ] || { printf '#!/bin/sh\\nexit 0\\n' >"$out"; chmod 755 "$out"; }""",
    )
    monkeypatch.setenv("CXX", f"{tmp_path / 'wrapper'} {compiles}")
    assert [each.level for each in compilers(True)] == ["ok"]


def test_a_folder_without_programs_is_told_apart_from_a_compiler_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system mounted noexec, access says what execve would."""
    monkeypatch.setenv(
        "CXX",
        str(
            program(
                tmp_path / "c++", 'for out; do :; done; [ "$out" = --version ] || touch -- "$out"'
            )
        ),
    )
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.X_OK)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    folder, built = compilers(True)
    assert (folder.level, built.level) == ("warning", "ok")
    assert "noexec" in folder.message
    assert "TMPDIR" in folder.advice


def test_no_folder_for_temporary_files_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    monkeypatch.setenv("CXX", str(program(tmp_path / "c++", "exit 0")))
    folder, built = compilers(True)
    assert (folder.level, built.level) == ("error", "error")
    assert "temporary" in folder.message


def test_dependencies_are_compared_with_their_ranges() -> None:
    assert packages.missing("pydantic>=2,<3") == ""
    assert "has to be" in packages.missing("pydantic>=999")
    assert packages.missing("no-such-distribution>=1") == packages.NOT_INSTALLED
    assert packages.llama_requirement().startswith("llama-cpp-python==")
    assert all(each.level == "ok" for each in packages.packages())


def test_limits_of_a_control_group_count(tmp_path: Path) -> None:
    told = {"proc__self__cgroup": "0::/box\n", "sys__fs__cgroup__box__pids.current": "10"}
    tight = root(tmp_path, **told, **{"sys__fs__cgroup__box__pids.max": "30"})
    found = machine.processes(tight)
    assert (found.level, "20 more" in found.message) == ("warning", True)
    root(tmp_path, **told, **{"sys__fs__cgroup__box__pids.max": "max"})
    assert machine.processes(tmp_path).level == "ok"


def limited(what: int, value: int, call: str) -> str:
    """The findings of a process with a limit, as the report has them."""
    source = (
        "import sys\nfrom gateway.cli.doctor import machine, finding\n"
        f"found = {call}\n"
        "print(finding.as_text(found if isinstance(found, list) else [found], None))"
    )
    return subprocess.run(
        [sys.executable, "-c", source],
        preexec_fn=lambda: resource.setrlimit(what, (value, value)),
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_limits_of_the_process_are_told() -> None:
    files = limited(resource.RLIMIT_NOFILE, 256, "machine.open_files()")
    assert "warning" in files
    assert "for 128 connections" in files
    wanted = limited(resource.RLIMIT_NOFILE, 2000, "machine.open_files(5000)")
    assert "5,256" in wanted
    sizes = limited(resource.RLIMIT_FSIZE, 1 << 20, "list(machine.sizes())")
    assert "ulimit -f" in sizes
    locked = limited(resource.RLIMIT_MEMLOCK, 1 << 16, "machine.locked(1 << 20)")
    assert "LimitMEMLOCK" in locked


def test_folders_that_can_not_be_written_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/forge")
    found = list(machine.folders(None))
    assert [each.level for each in found] == ["warning", "ok"]
    assert "/proc/forge/forge" in found[0].message


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder in one that this user may not look into; root becomes another user for the time."""
    inside = tmp_path / "closed" / "inside"
    inside.mkdir(parents=True)
    inside.parent.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield inside
    os.seteuid(user)
    inside.parent.chmod(0o700)


def test_folders_that_can_not_be_looked_into_are_told(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(closed))
    told = next(each for each in machine.folders(None) if each.level == "warning")
    assert str(closed) in told.message
    assert "Permission denied" in told.message
    assert list(machine.disk(lambda: closed)) == []


def test_a_model_where_this_user_may_not_look_is_told(closed: Path) -> None:
    with pytest.raises(ConfigError, match="Permission denied"):
        served.Settings({"model": str(closed / "model.gguf")}, None, lambda _: None)


def test_a_folder_that_would_be_made_is_fine(tmp_path: Path) -> None:
    assert machine.unwritable(tmp_path / "a" / "b") is None
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the system does not know, as in a container that runs as any number."""

    def no_home(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_a_user_without_a_home_is_told(homeless: None, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--port", "0"])
    lines = capsys.readouterr().out.splitlines()
    assert sum("has no home folder" in line for line in lines) == 4
    assert any("forge-tiny needs" in line for line in lines)


@pytest.mark.parametrize("command", ["list", "cache", "rm"])
def test_other_commands_say_so_in_a_line(
    homeless: None, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *(["--unfinished"] if command == "rm" else [])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"forge {command}: error: this user has no home folder")
