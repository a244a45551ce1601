"""Fields that Forge does not know: ignored and named in a header, or refused where told to."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.api.field_policy import HEADER, MAX_HEADER, MAX_NAME, MAX_NAMES
from gateway.config.config import Config
from tests.contract.test_cors import ORIGIN
from tests.support.dialects import CHAT, COMPLETIONS, OPENAI, Dialect
from tests.support.front import blocking_front
from tests.support.server import ALIAS

UNKNOWN = ["max_token", "extra_body", "Temperature", "int", "a[0]", "stop_at"]
METRIC = "forge_requests_with_ignored_parameters_total"


@pytest.fixture(scope="module")
def strict() -> Iterator[httpx.Client]:
    """A gateway that was told to refuse."""
    with blocking_front(Config(alias=ALIAS, unknown_parameters="refuse"), answers=True) as client:
        yield client


@pytest.fixture
def open_front() -> Iterator[httpx.Client]:
    """A gateway of its own, which web pages may use."""
    config = Config(alias=ALIAS, cors_origin=(ORIGIN,))
    with blocking_front(config, answers=True) as client:
        yield client


def ask(client: httpx.Client, dialect: Dialect, **fields: Any) -> httpx.Response:
    answer = client.post(dialect.path, json={**dialect.body(max_tokens=1), **fields})
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize("name", UNKNOWN)
def test_ignored_and_named(answering: httpx.Client, dialect: Dialect, name: str) -> None:
    assert ask(answering, dialect, **{name: 1}).headers[HEADER] == name


@pytest.mark.parametrize("name", UNKNOWN)
def test_refused_where_told(strict: httpx.Client, dialect: Dialect, name: str) -> None:
    if dialect.open_ended:  # their clients send new fields with every release
        assert ask(strict, dialect, **{name: 1}).headers[HEADER] == name
        return
    failure = dialect.refusal(strict.post(dialect.path, json={**dialect.body(), name: 1}))
    assert (failure.status, failure.code) == (400, "unknown_parameter")
    assert failure.param == name


def test_nothing_is_named_where_all_is_served(answering: httpx.Client, dialect: Dialect) -> None:
    assert HEADER not in dialect.ask(answering, max_tokens=1, temperature=0.5).headers


def test_null_asks_for_nothing(answering: httpx.Client, dialect: Dialect) -> None:
    assert HEADER not in ask(answering, dialect, colour=None).headers


@pytest.mark.parametrize("stream", [False, True])
def test_named_on_streams(answering: httpx.Client, streamed: Dialect, stream: bool) -> None:
    answer = ask(answering, streamed, stream=stream, colour="red", shape=None, size=3)
    assert answer.headers[HEADER] == "colour, size"


def test_named_on_refusals(front: httpx.Client, dialect: Dialect) -> None:
    body = dialect.body(priority="none of them", colour=1)
    answer = front.post(dialect.path, json=body)
    assert answer.status_code == 400
    assert answer.headers[HEADER] == "colour"


def test_named_in_the_log(
    open_front: httpx.Client, dialect: Dialect, caplog: pytest.LogCaptureFixture
) -> None:
    """As in the header, where the log tells all: names alone, escaped and bounded."""
    fields = {"colour\r\nx": "a secret", "y" * 5000: 1}
    with caplog.at_level("DEBUG", "forge.api"):
        shown = ask(open_front, dialect, **fields).headers[HEADER]
    lines = [record.getMessage() for record in caplog.records if record.name == "forge.api"]
    assert lines == [f"{dialect.path} ignores {shown}"]
    assert shown.startswith("colour\\u000d\\u000ax, yyy")
    with caplog.at_level("INFO", "forge.api"):
        ask(open_front, dialect, **fields)
    assert len([record for record in caplog.records if record.name == "forge.api"]) == 1


def test_inside_objects(answering: httpx.Client) -> None:
    answer = ask(
        answering,
        CHAT,
        stream=True,
        stream_options={"include_usage": True, "colour": 1},
        response_format={"type": "text", "schema_version": 2},
    )
    assert sorted(answer.headers[HEADER].split(", ")) == [
        "response_format.schema_version",
        "stream_options.colour",
    ]


def test_an_object_inside_refuses_by_path(strict: httpx.Client, streaming: Dialect) -> None:
    body = streaming.body(stream=True, stream_options={"colour": True})
    failure = streaming.refusal(strict.post(streaming.path, json=body))
    assert (failure.code, failure.param) == ("unknown_parameter", "stream_options.colour")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": "x"}),
        ("/tokenize", {"content": "x"}),
        ("/detokenize", {"tokens": [1]}),
        ("/apply-template", {"messages": [{"role": "user", "content": "x"}]}),
    ],
)
def test_other_endpoints(http: httpx.Client, strict: httpx.Client, path: str, body: Any) -> None:
    answer = http.post(path, json={**body, "colour": 1})
    assert (answer.status_code, answer.headers[HEADER]) == (200, "colour")
    refused = strict.post(path, json={**body, "colour": 1})
    assert refused.json()["error"]["param"] == "colour"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("größe", "gr\\u00f6\\u00dfe"),
        ("a\r\nX-Evil: 1", "a\\u000d\\u000aX-Evil:\\u00201"),
        ("a,b", "a\\u002cb"),
        ("😀", "\\U0001f600"),
        ("", ""),
        ("\0\x7f", "\\u0000\\u007f"),
        ("x" * 5000, "x" * (MAX_NAME - 3) + "..."),
    ],
)
def test_a_name_is_ascii_and_short(answering: httpx.Client, name: str, shown: str) -> None:
    assert ask(answering, CHAT, **{name: 1}).headers[HEADER] == shown


@pytest.mark.parametrize("name", ["field", "größe" * 20, "x" * 1000])
def test_many_names(answering: httpx.Client, name: str) -> None:
    """A body has room for a hundred thousand: the header is bounded, and says there are more."""
    shown = ask(answering, CHAT, **{f"{name}{i}": i for i in range(100_000 // len(name))}).headers
    names = shown[HEADER].split(", ")
    assert names[-1] == "..."
    assert 5 < len(names) <= MAX_NAMES + 1
    assert len(shown[HEADER]) <= MAX_HEADER
    assert re.fullmatch(r"[ -~]+", shown[HEADER])


def test_many_objects_with_unknown_fields(answering: httpx.Client) -> None:
    messages = [{"role": "user", "content": "", "colour": at} for at in range(100)]
    names = ask(answering, CHAT, messages=messages).headers[HEADER].split(", ")
    assert names == [*(f"messages.{at}.colour" for at in range(MAX_NAMES)), "..."]


def test_counted_without_a_label(open_front: httpx.Client) -> None:
    for fields in ({"colour": 1}, {"colour": 1, "size": 2}, {"temperature": 0.0}):
        ask(open_front, COMPLETIONS, **fields)
    lines = open_front.get("/metrics", headers={"Accept": "text/plain"}).text.splitlines()
    assert f"{METRIC} 2.0" in lines


@pytest.mark.parametrize("dialect", OPENAI, ids=str)
def test_web_pages_may_read_it(open_front: httpx.Client, dialect: Dialect) -> None:
    body = dialect.body(max_tokens=1, colour=1)
    answer = open_front.post(dialect.path, json=body, headers={"Origin": ORIGIN})
    assert answer.headers[HEADER] == "colour"
    assert HEADER in answer.headers["access-control-expose-headers"]
