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


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', b"\xff"])
def test_a_file_that_is_no_such_has_no_names(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "names.json").write_bytes(content)
    names = CopiedNames(tmp_path / "names.json")
    assert dict(names.items()) == {}
    names.add("a", "tiny")
    assert CopiedNames(tmp_path / "names.json").find("a") == "tiny"


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
