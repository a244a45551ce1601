"""Names that an admin gave to models."""

from pathlib import Path

import pytest

from gateway.core.errors import BadRequest, NotFound
from gateway.served.copied_names import MAX_NAME, MOST, CopiedNames


def test_they_survive_the_server(tmp_path: Path) -> None:
    file = tmp_path / "forge" / "names.json"
    names = CopiedNames(file)
    names.add("chat", "hf:org/tiny:Q4_K_M")
    names.add("mine", "tiny")
    names.add("chat", "tiny")
    assert names.of("tiny") == ["chat", "mine"]
    again = CopiedNames(file)
    assert dict(again.items()) == {"chat": "tiny", "mine": "tiny"}
    again.remove("chat")
    assert CopiedNames(file).find("chat") is None
    assert [path.name for path in file.parent.iterdir()] == ["names.json"]


def test_two_servers_keep_each_others_names(tmp_path: Path) -> None:
    one, two = CopiedNames(tmp_path / "names.json"), CopiedNames(tmp_path / "names.json")
    one.add("a", "tiny")
    two.add("b", "tiny")
    assert CopiedNames(tmp_path / "names.json").of("tiny") == ["a", "b"]


def test_without_a_home_they_end_with_the_server() -> None:
    names = CopiedNames(None)
    names.add("a", "tiny")
    assert names.find("a") == "tiny"
    names.remove("a")
    with pytest.raises(NotFound):
        names.remove("a")


BROKEN = [b"", b"[]", b'{"a": 1}', b"\xff", b'{"chat": "tiny", "mine"']


@pytest.mark.parametrize("content", BROKEN)
def test_a_damaged_file_is_told_and_kept(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "names.json"
    file.write_bytes(content)
    names = CopiedNames(file)
    assert dict(names.items()) == {}
    assert str(file) in caplog.text
    assert file.read_bytes() == content
    caplog.clear()
    names.add("a", "tiny")
    assert dict(CopiedNames(file).items()) == {"a": "tiny"}
    aside = tmp_path / "names.json.broken-1"
    assert aside.read_bytes() == content
    assert str(aside) in caplog.text


def test_damage_under_a_running_server_loses_no_name(tmp_path: Path) -> None:
    file = tmp_path / "names.json"
    names = CopiedNames(file)
    names.add("a", "tiny")
    for number, content in enumerate(BROKEN):
        file.write_bytes(content)
        names.add(f"b{number}", "tiny")
    assert CopiedNames(file).of("tiny") == ["a", *(f"b{number}" for number in range(len(BROKEN)))]
    kept = [(tmp_path / f"names.json.broken-{number + 1}") for number in range(len(BROKEN))]
    assert [each.read_bytes() for each in kept] == BROKEN


def test_a_file_that_cannot_be_read_is_not_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder stands for any such: tests may run as root, who may read all files."""
    (tmp_path / "names.json" / "inside").mkdir(parents=True)
    names = CopiedNames(tmp_path / "names.json")
    assert "Is a directory" in caplog.text
    with pytest.raises(IsADirectoryError):
        names.add("a", "tiny")
    assert names.find("a") is None
    assert [path.name for path in tmp_path.iterdir()] == ["names.json"]


@pytest.mark.parametrize("name", ["", "x" * (MAX_NAME + 1), "a\nb", "a\x00", "\ud800"])
def test_bad_names(name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        CopiedNames(None).add(name, "tiny")
    assert caught.value.param == "destination"


def test_there_are_not_many_of_them() -> None:
    names = CopiedNames(None)
    for number in range(MOST):
        names.add(f"name-{number}", "tiny")
    names.add("name-0", "other")
    with pytest.raises(BadRequest):
        names.add("one more", "tiny")
