"""The real commands with odd streams, arguments and files: one line, a code, no traceback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.support.server import environment, eventually, free_port

FULL = Path("/dev/full")
NAMES = ("serve", "tune", "show", "list", "pull", "rm", "quantize", "chat", "run")
HELP = [["--help"], ["--version"], *([name, "--help"] for name in NAMES)]
BAD = b"\xff"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
DEADLINE_S = 120


@dataclass(frozen=True)
class Done:
    code: int
    out: bytes
    err: str


@dataclass(frozen=True)
class Shell:
    """A folder, and commands that are run there through a shell, which sets their streams."""

    folder: Path

    def run(self, *arguments: str | bytes, streams: str = "", **more: str) -> Done:
        """Run ``forge`` with these arguments; ``streams`` are the shell's redirections."""
        line = f'set -o pipefail; "$@" {streams}'
        forge = [sys.executable, "-m", "gateway.cli", *arguments]
        done = subprocess.run(
            ["bash", "-c", line, "bash", *forge],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=self.environment(more),
            timeout=DEADLINE_S,
        )
        err = done.stderr.decode()
        assert "Traceback" not in err
        assert "Exception" not in err
        return Done(done.returncode, done.stdout, err)

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        names = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME")
        homes = dict.fromkeys(names, str(self.folder))
        return environment({**homes, "PYTHONPATH": os.pathsep.join(sys.path), **more})


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return str(path)


WORDY = [["list"], ["list", "--json"], ["show", "forge-tiny"], ["pull", str(EMBEDDED_MODEL)]]
RUN = ["run", "--max-tokens", "3", "hi"]


def told(command: list[str], reason: str) -> str:
    """Return the only line on stderr of a command that can't write."""
    name = "" if command[0].startswith("-") else f" {command[0]}"
    return f"forge{name}: error: can't write to stdout: {reason}\n"


@pytest.mark.parametrize("command", [*HELP, *WORDY, RUN], ids=" ".join)
def test_stdout_that_can_not_be_written(shell: Shell, command: list[str]) -> None:
    """Not even a file that is opened later takes the place of a closed stream."""
    done = shell.run(*command, streams=">&-")
    assert (done.code, done.err) == (2, told(command, "Bad file descriptor"))
    if FULL.is_char_device():
        done = shell.run(*command, streams=f">{FULL}")
        assert (done.code, done.err) == (2, told(command, "No space left on device"))


@pytest.mark.parametrize("command", [["--help"], ["serve", "--help"], *WORDY, RUN], ids=" ".join)
def test_a_reader_that_goes_away(shell: Shell, command: list[str]) -> None:
    """As under head: it has what it wanted."""
    assert shell.run(*command, streams="| head -c 0") == Done(0, b"", "")


@pytest.mark.parametrize("streams", ["2>&-", "<&-", "<&- 2>&-", f"2>{FULL}"])
@pytest.mark.parametrize("command", [["--help"], ["list"], RUN], ids=" ".join)
def test_other_streams_are_not_needed(shell: Shell, command: list[str], streams: str) -> None:
    done = shell.run(*command, streams=streams)
    assert (done.code, done.err) == (0, "")
    assert done.out


@pytest.mark.parametrize("streams", ["2>&-", ">&- 2>&-", f"2>{FULL}"])
def test_a_failure_has_its_code_even_if_nothing_can_be_told(shell: Shell, streams: str) -> None:
    for arguments in (["show", "nothing"], ["show"], ["nothing"]):
        assert shell.run(*arguments, streams=streams) == Done(2, b"", "")


@pytest.mark.parametrize("streams", [">&-", f">{FULL}", "<&- >&- 2>&-", "| head -c 0"])
def test_a_server_needs_no_streams(tmp_path: Path, streams: str) -> None:
    """It says that its banner is lost, if it can, and serves."""
    port = free_port()
    command = f"exec {sys.executable} -m gateway.cli serve --workers 1 --port {port} {streams}"
    if "|" in streams:
        command = command.removeprefix("exec ")
    with (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(
            ["bash", "-c", command], stderr=err, env=environment(), start_new_session=True
        )

    def healthy() -> bool:
        assert process.poll() is None, (tmp_path / "err").read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
        except httpx.HTTPError:
            return False

    try:
        eventually(healthy, "it serves")
        assert "Traceback" not in (tmp_path / "err").read_text()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        code = process.wait(DEADLINE_S)
    assert code == 0 or "|" in streams


@pytest.mark.parametrize("columns", ["1", "0", "99999999999999999999", "x"])
def test_columns(shell: Shell, columns: str) -> None:
    """Nothing is lost, however narrow the terminal claims to be."""
    assert b"forge-tiny" in shell.run("list", COLUMNS=columns).out.replace(b"\n", b"")
    assert b"architecture" in shell.run("show", "forge-tiny", COLUMNS=columns).out
    assert b"--port" in shell.run("serve", "--help", COLUMNS=columns).out


@pytest.mark.parametrize("terminal", [ASCII, {"PYTHONIOENCODING": "ascii"}], ids=["C", "ascii"])
def test_a_terminal_that_knows_ascii_alone(
    shell: Shell, tmp_path: Path, terminal: dict[str, str]
) -> None:
    shutil.copy(EMBEDDED_MODEL, tmp_path / "mod\u00e8le.gguf")
    # Wide, or the name may be broken where the folder's name is long.
    listed = shell.run("list", str(tmp_path), COLUMNS="300", **terminal)
    assert listed.code == 0
    assert b"le.gguf" in listed.out
    for command in (["--help"], ["show", "forge-tiny"], ["run", "--max-tokens", "3", "\u00e9"]):
        done = shell.run(*command, **terminal)
        assert (done.code, done.err) == (0, "")
    done = shell.run("show", "mod\u00e8le", **terminal)
    assert done.code == 2
    assert done.err.startswith("forge show: error: mod")


def test_names_of_files_need_not_be_utf_8(shell: Shell, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/m" + BAD + b".gguf"
    Path(os.fsdecode(name)).write_bytes(EMBEDDED_MODEL.read_bytes())
    assert shell.run("pull", name) == Done(0, name + b"\n", ""), "a script can go on with it"
    assert shell.run("show", name).code == 0
    assert shell.run("run", "--model", name, "--max-tokens", "3", "hi").code == 0
    assert json.loads(shell.run("list", "--json", str(tmp_path)).out)
    assert b"m\\udcff.gguf" in shell.run("list", str(tmp_path)).out.replace(b"\n", b"")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((b"run", BAD), "forge run: error: the prompt is not UTF-8: byte 0"),
        ((b"run", b"--system", BAD, b"a"), "forge run: error: --system is not UTF-8"),
        ((b"run", b"--priority", BAD, b"a"), "forge run: error: --priority is not UTF-8"),
        ((b"run", b"--url", BAD, b"a"), "forge run: error: --url is not UTF-8"),
        ((b"run", b"--api-key", BAD, b"a"), "forge run: error: --api-key is not UTF-8"),
        ((b"run", b"--api-key", "\u00e9".encode(), b"a"), "forge run: error: --api-key, or FORGE"),
        ((b"run", b"--schema", BAD, b"a"), "forge run: error: --schema: can't read \\udcff"),
        ((b"run", b"--model", BAD, b"a"), "forge run: error: \\udcff is neither a file"),
        ((b"chat", b"--system", BAD), "forge chat: error: --system is not UTF-8"),
        ((b"pull", b"hf:" + BAD + b"/a"), "forge pull: error: hf:\\udcff/a: not UTF-8"),
        ((b"pull", b"https://a/" + BAD), "forge pull: error: https://a/\\udcff: not UTF-8"),
        ((b"pull", BAD), "forge pull: error: MODEL: can't read \\udcff: No such file"),
        ((b"show", BAD), "forge show: error: \\udcff is neither a file"),
        ((b"list", BAD), "forge list: error: \\udcff is not a folder"),
        ((b"rm", b"--yes", BAD), "forge rm: error: \\udcff is neither a file"),
        ((b"quantize", BAD, b"out.gguf", b"q4_0"), "forge quantize: error: \\udcff is neither"),
        ((b"tune", b"--model", BAD), "forge tune: error: --model: can't read \\udcff"),
        ((b"serve", b"--alias", BAD), "forge serve: error: --alias: "),
        ((b"serve", b"--model", BAD), "forge serve: error: --model: can't read \\udcff"),
        ((b"serve", b"--config", BAD), "forge serve: error: --config: can't read \\udcff"),
        ((b"serve", BAD), "forge serve: error: --model: can't read \\udcff"),
        (
            (b"serve", b"m", b"\x1b[2J" + BAD),
            "forge: error: unrecognized arguments: \\x1b[2J\\udcff",
        ),
        ((BAD,), "forge: error: argument COMMAND: invalid choice: '\\udcff'"),
    ],
    ids=lambda value: None if isinstance(value, str) else repr(value),
)
def test_arguments_that_are_no_text(shell: Shell, arguments: tuple[bytes, ...], line: str) -> None:
    done = shell.run(*arguments)
    assert (done.code, done.out) == (2, b"")
    assert done.err.splitlines()[-1].startswith(line)


@pytest.mark.parametrize("command", [["run"], ["run", "-"], ["run", "hi"], ["chat"]], ids=" ".join)
def test_stdin_that_is_no_text(shell: Shell, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "bad").write_bytes(BAD + b"\n")
    done = shell.run(*command, streams=f"< {tmp_path / 'bad'}")
    assert done.code == 2
    assert done.err.startswith(f"forge {command[0]}: error: stdin is not UTF-8")
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve", "--port", "0", "--model"),
        ("serve", "--port", "0"),
        ("tune", "--model"),
        ("run", "hi", "--model"),
        ("chat",),
        ("show",),
        ("pull",),
        ("rm", "--yes"),
        ("quantize", "--force", str(EMBEDDED_MODEL), "OUT", "q4_0"),
        ("quantize", "IN", "out.gguf", "q4_0"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("kind", ["a FIFO", "a socket", "a device", "a folder"])
def test_a_model_that_is_no_file(
    shell: Shell, fifo: str, tmp_path: Path, arguments: tuple[str, ...], kind: str
) -> None:
    """It is not opened: nothing would ever come out of a FIFO."""
    if "OUT" in arguments and kind == "a device":
        pytest.skip("were it replaced, the machine would have lost it")
    path = {"a FIFO": fifo, "a device": "/dev/zero", "a folder": str(tmp_path)}.get(kind)
    if path is None:
        path = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(os.path.relpath(path))
    placed = [path if each in ("IN", "OUT") else each for each in arguments]
    done = shell.run(*placed, *([] if placed != [*arguments] else [path]))
    assert (done.code, done.out) == (2, b"")
    (line,) = done.err.splitlines()
    assert line.startswith(f"forge {arguments[0]}: error: ")
    assert path in line
    assert not Path(path).is_file()
