"""The file of results: nothing that was written is lost, and nothing else is touched."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.batch.requests import BatchRefused, digest
from gateway.cli.batch.result_file import ResultFile, result


def test_lines_are_what_openais_batches_write() -> None:
    told = result("a", 200, "req", b'{"n": 12345678901234567890, "x": 1.0}')
    assert told.endswith(b"\n")
    value = json.loads(told)
    assert value.pop("id").startswith("batch_req_")
    body = {"n": 12345678901234567890, "x": 1.0}
    assert value == {
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": "req", "body": body},
        "error": None,
    }
    failed = json.loads(result("a", error={"code": "x", "message": "y"}))
    assert (failed["response"], failed["error"]["code"]) == (None, "x")


def test_an_answer_that_is_written_for_people_is_one_line_too() -> None:
    told = result("a", 200, "", b'{\r\n  "text": "two\\nlines"\r\n}')
    assert told.count(b"\n") == 1
    assert b"\r" not in told
    assert json.loads(told)["response"]["body"] == {"text": "two\nlines"}


def test_the_next_run_finds_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with ResultFile(path) as file:
        assert file.ids == set()
        for name in ("a", "b"):
            file.add(result(name, 200))
    with ResultFile(path) as file:
        assert file.ids == {digest("a"), digest("b")}
        file.empty()
        file.remove_if_empty()
    assert not path.exists()


@pytest.mark.parametrize("end", range(1, 60, 7))
def test_what_is_left_of_a_line_is_cut_off(tmp_path: Path, end: int) -> None:
    path = tmp_path / "out.jsonl"
    whole, torn = result("a", 200), result("b", 200, body=b'{"text": "some more"}')
    path.write_bytes(whole + torn[:end])
    with ResultFile(path) as file:
        assert file.ids == {digest("a")}
        file.add(torn)
    assert path.read_bytes() == whole + torn


def test_a_line_without_its_end_of_line_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(result("a", 200)[:-1])
    with ResultFile(path) as file:
        assert file.ids == {digest("a")}
        file.add(result("b", 200))
    assert [json.loads(each)["custom_id"] for each in path.read_text().splitlines()] == ["a", "b"]


@pytest.mark.parametrize(
    "other", [b"hello", b"hello\n", b'{"custom_id": "a"}\n', b"{}\n", b"[]", b"\xff\n"]
)
def test_another_kind_of_file_is_left_as_it_is(tmp_path: Path, other: bytes) -> None:
    path = tmp_path / "out.jsonl"
    for before, number in ((b"", 1), (result("a", 200), 2)):
        path.write_bytes(before + other)
        with pytest.raises(BatchRefused, match=f"line {number}, is not a result of a batch"):
            ResultFile(path)
        assert path.read_bytes() == before + other


def test_two_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with ResultFile(path), pytest.raises(BatchRefused, match="another forge batch writes"):
        ResultFile(path)
    with ResultFile(path):
        pass


def test_places_that_take_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "out.jsonl"):
        with pytest.raises(BatchRefused, match="can't write"):
            ResultFile(path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device is full here")
def test_a_full_disk_is_said(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with ResultFile(path) as file:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, file._file)
        os.close(full)
        with pytest.raises(BatchRefused, match="No space left"):
            file.add(result("a", 200))


def test_a_process_that_is_killed_has_written_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    source = (
        "import os, signal, sys; from pathlib import Path\n"
        "from gateway.cli.batch.result_file import ResultFile, result\n"
        "file = ResultFile(Path(sys.argv[1]))\n"
        "for n in range(100): file.add(result(str(n), 200))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", source, str(path)])
    assert done.returncode == -signal.SIGKILL
    with ResultFile(path) as file:
        assert file.ids == {digest(str(n)) for n in range(100)}
