"""The lines of a batch's file: what they ask for, and what is said about wrong ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.batch import requests as module
from gateway.cli.batch.requests import AskedModel, BatchRefused, check, digest, requests

CHAT = "/v1/chat/completions"


def line(custom_id: Any = "a", url: Any = CHAT, method: Any = "POST", **body: Any) -> str:
    return json.dumps({"custom_id": custom_id, "method": method, "url": url, "body": body})


def refused(file: Path) -> list[str]:
    """Return the lines said about a file, the error last."""
    said: list[str] = []
    with pytest.raises(BatchRefused) as caught:
        check(file, said.append)
    return [each.replace(str(file), "IN") for each in (*said, str(caught.value))]


def test_every_url_is_taken_and_bodies_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    lines = [line(url, url, model="m", messages=[{"n": 1.5}]) for url in module.URLS]
    file.write_text("\ufeff" + "\n\n".join(lines))  # an editor's mark, and empty lines
    assert check(file, print) == {digest(url): 2 * n + 1 for n, url in enumerate(module.URLS)}
    found = list(requests(file))
    assert [(each.custom_id, each.url) for each in found] == [(url, url) for url in module.URLS]
    body = {"model": "m", "messages": [{"n": 1.5}]}
    assert all(json.loads(each.body) == body for each in found)


@pytest.mark.parametrize(
    ("name", "told"), [(None, {"x": 1}), ("small", {"model": "small", "x": 1})]
)
def test_a_model_that_was_asked_for_is_that_of_all_lines(
    tmp_path: Path, name: str | None, told: dict[str, Any]
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(line("a", model="gpt", x=1) + "\n" + line("b", x=1))
    found = [json.loads(each.body) for each in requests(file, AskedModel(name))]
    assert found == [told, told]


def test_every_wrong_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    wrong = (
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("7", "not a JSON object"),
        ('{"url": 7}', "custom_id"),
        (line(""), "custom_id"),
        (line(7), "custom_id"),
        (line("b", method="GET"), "method"),
        (line("b", url="/v1/files"), "'url' must be one of /v1/chat/completions, "),
        (line("b", url=7), "'url'"),
        (line("b", url=None), "'url'"),
        (line("b", stream=True), "stream"),
        (line("b", background=True), "background"),
        (line("b", model=7), "model"),
        (line("first"), "custom_id 'first' is that of line 1, too"),
    )
    file.write_text("\n".join([line("first"), *(text for text, _ in wrong)]))
    *said, error = refused(file)
    assert error == f"IN: {len(wrong)} lines are wrong, and nothing was run"
    for number, (told, (_, expected)) in enumerate(zip(said, wrong, strict=True), 2):
        assert told.startswith(f"IN, line {number}: ")
        assert expected in told


def test_wrong_lines_beyond_the_first_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text("{\n" * 1000)
    *said, error = refused(file)
    assert len(said) == module.MOST_NAMED
    assert error == "IN: 1000 lines are wrong, and nothing was run"


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(tmp_path / "in.jsonl") == ["can't read IN: No such file or directory"]
    assert refused(tmp_path) == ["can't read IN: Is a directory"]
    file = tmp_path / "in.jsonl"
    file.write_text("\n \n")
    assert refused(file) == ["IN has no lines"]
    monkeypatch.setattr(module, "LONGEST", 1000)
    file.write_text(line("a") + "\n" + line("b", x="x" * 1000))
    assert refused(file) == ["IN, line 2: it has more than 1000 bytes"]
