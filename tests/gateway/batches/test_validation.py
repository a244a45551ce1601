import json
from typing import Any

import pytest

from gateway.batches import validation
from gateway.batches.splitting import RawLine
from gateway.batches.validation import BatchProblem, InputCheck

CHAT = "/v1/chat/completions"
MODELS = {None: "tiny", "tiny": "tiny", "alias": "tiny", "large": "large"}


def line(custom_id: Any = "a", url: Any = CHAT, method: Any = "POST", **body: Any) -> bytes:
    fields = {"custom_id": custom_id, "method": method, "url": url, "body": body}
    return json.dumps({name: value for name, value in fields.items() if value != ...}).encode()


def check(
    *lines: bytes | None, url: str = CHAT, room: int = 10**6
) -> tuple[InputCheck, list[BatchProblem]]:
    found = InputCheck(url, MODELS.get, 1000, room)
    for number, data in enumerate(lines, start=1):
        found.take(RawLine(number, data))
    return found, found.problems()


def test_lines_that_are_right() -> None:
    found, problems = check(line("a"), line("b", model="tiny"), line("c", model="alias"))
    assert problems == []
    assert (found.model, found.lines, found.wrong) == ("tiny", 3, False)


WRONG: list[tuple[str, bytes | None, str, str | None]] = [
    ("not JSON", b"{", "invalid_json_line", None),
    ("not UTF-8", b'{"custom_id": "\xff"}', "invalid_json_line", None),
    ("an array", b"[1]", "invalid_json_line", None),
    ("endless nesting", b"[" * 900, "invalid_json_line", None),
    (
        "too deep to be written",
        line(x=json.loads("[" * 300 + "]" * 300)),
        "invalid_json_line",
        "body",
    ),
    ("no custom_id", line(...), "missing_required_parameter", "custom_id"),
    ("a null custom_id", line(None), "missing_required_parameter", "custom_id"),
    ("no method", line(method=...), "missing_required_parameter", "method"),
    ("no url", line(url=...), "missing_required_parameter", "url"),
    (
        "no body",
        b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}',
        "missing_required_parameter",
        "body",
    ),
    ("a number", line(7), "invalid_type", "custom_id"),
    ("an empty custom_id", line(""), "invalid_custom_id", "custom_id"),
    ("a long custom_id", line("x" * 513), "invalid_custom_id", "custom_id"),
    ("another method", line(method="GET"), "invalid_method", "method"),
    ("another endpoint", line(url="/v1/embeddings"), "invalid_url", "url"),
    ("a stream", line(stream=True), "unsupported_parameter", "body.stream"),
    ("in the background", line(background=True), "unsupported_parameter", "body.background"),
    ("a model of no name", line(model=3), "invalid_type", "body.model"),
    ("no such model", line(model="none"), "model_not_found", "body.model"),
    ("too long", None, "line_too_large", None),
]


@pytest.mark.parametrize(
    ("data", "code", "param"), [row[1:] for row in WRONG], ids=[r[0] for r in WRONG]
)
def test_a_wrong_line_is_named(data: bytes | None, code: str, param: str | None) -> None:
    found, problems = check(line("first"), data, line("last"))
    assert [(each["code"], each["param"], each["line"]) for each in problems] == [(code, param, 2)]
    assert found.wrong


def test_all_wrong_lines_are_named() -> None:
    _, problems = check(b"{", line("a"), line("b", "/x"), line("c", method="PUT"))
    assert [(each["code"], each["line"]) for each in problems] == [
        ("invalid_json_line", 1),
        ("invalid_url", 3),
        ("invalid_method", 4),
    ]


def test_ids_are_unique() -> None:
    _, problems = check(line("a"), line("b"), line("a"))
    assert problems[0]["message"] == "The custom_id 'a' is that of line 1, too."
    assert (problems[0]["code"], problems[0]["line"]) == ("duplicate_custom_id", 3)


def test_one_model_for_all_lines() -> None:
    _, problems = check(line("a", model="alias"), line("b", model="tiny"), line("c", model="large"))
    assert [(each["code"], each["line"]) for each in problems] == [("mismatched_model", 3)]
    assert "tiny" in problems[0]["message"]


def test_an_empty_file() -> None:
    assert [each["code"] for each in check()[1]] == ["empty_file"]


def test_too_many_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "MOST_LINES", 2)
    found, problems = check(line("a"), line("b"), line("c"))
    assert [each["code"] for each in problems] == ["too_many_lines"]
    assert found.over


def test_too_many_lines_of_one_key() -> None:
    found, problems = check(line("a"), line("b"), line("c"), room=2)
    assert [each["code"] for each in problems] == ["token_limit_exceeded"]
    assert found.over


def test_errors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "MOST_NAMED", 2)
    _, problems = check(b"{", b"{", b"{", b"{")
    assert [each.get("line") for each in problems] == [1, 2, None]
    assert problems[2]["message"] == "2 more lines are wrong."


def test_inputs_of_embeddings_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "MOST_INPUTS", 4)
    url = "/v1/embeddings"
    one = line("a", url, input="text")
    ids = line("b", url, input=[1, 2, 3])
    assert check(one, ids, line("c", url, input=["a", "b"]), url=url)[1] == []
    _, problems = check(one, ids, line("c", url, input=["a", "b", "c"]), url=url)
    assert [(each["code"], each["line"]) for each in problems] == [("too_many_inputs", 3)]


def test_a_name_in_an_error_is_short_and_has_no_control_bytes() -> None:
    _, problems = check(line(model="\x1b[31m" + "m" * 5000))
    message = problems[0]["message"]
    assert len(message) < 200
    assert message.isprintable()
