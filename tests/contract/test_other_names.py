"""Other programs' names, written-out defaults and odd spellings: each means what it means there."""

import json
from typing import Any

import httpx
import pytest

from gateway.api import field_policy
from gateway.api.body import SamplingBody, parse
from gateway.api.field_policy import HEADER
from gateway.api.infer import InferBody
from gateway.api.openai.chat import ChatBody
from gateway.api.openai.completions import CompletionBody
from gateway.api.tokens import TemplateBody
from tests.support.dialects import CHAT, COMPLETIONS, DIALECTS, INFER, Dialect


@pytest.fixture(params=[each for each in DIALECTS if each.maps], ids=str)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    """Each dialect that knows other programs' names."""
    found: Dialect = request.param
    return found


SCHEMA = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]}


@pytest.mark.parametrize("body", [ChatBody, CompletionBody, InferBody, TemplateBody])
def test_the_table_has_every_name(body: type[SamplingBody | TemplateBody]) -> None:
    assert field_policy.policy(body.place).mapped == set(body.others_type.model_fields)


# ------------------------------------------------------------------ forms of the answer


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({"guided_choice": ["red", 'b"lue/']}, ["red", 'b"lue/']),
        ({"guided_regex": r"^[0-9]{3}/[ab]$"}, None),
        ({"guided_grammar": 'root ::= "yes" | "no"'}, ["yes", "no"]),
        ({"guided_json": {"const": "x"}}, ['"x"']),
        ({"guided_json": '{"const": "x"}'}, ['"x"']),
        ({"structured_outputs": {"choice": ["red", "blue"]}}, ["red", "blue"]),
        ({"structured_outputs": {"regex": "a{4}"}}, ["aaaa"]),
        ({"structured_outputs": {"grammar": 'root ::= "yes"'}}, ["yes"]),
        ({"structured_outputs": {"json": {"const": 5}}}, ["5"]),
    ],
    ids=str,
)
def test_forms(http: httpx.Client, dialect: Dialect, fields: Any, texts: list[str] | None) -> None:
    answer = dialect.ask(http, max_tokens=40, temperature=1, **fields)
    assert answer.reason == "stop"
    if texts is None:
        digits, _, letter = answer.text.partition("/")
        assert (digits.isdigit(), len(digits), letter in "ab") == (True, 3, True)
    else:
        assert answer.text in texts
    assert HEADER not in answer.headers


def test_any_object(http: httpx.Client) -> None:
    answer = CHAT.ask(http, max_tokens=60, structured_outputs={"json_object": True})
    assert answer.text.startswith("{")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": "5"}, "guided_json"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_regex": "(?=a)"}, "guided_regex"),
        ({"guided_regex": "["}, "guided_regex"),
        ({"guided_json": {}, "grammar": "x"}, "grammar"),
        ({"structured_outputs": {"json": {}, "regex": "x"}}, "structured_outputs.regex"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"repetition_penalty": 1.1, "repeat_penalty": 1.2}, "repetition_penalty"),
        ({"n_predict": 5, "num_predict": 6}, "num_predict"),
        ({"max_tokens": 5, "min_tokens": 6}, "min_tokens"),
        ({"stop_token_ids": [10**6]}, "stop_token_ids"),
        ({"bad_words": ["x"]}, "bad_words"),
        ({"use_beam_search": True}, "use_beam_search"),
    ],
    ids=str,
)
def test_wrong_ones_are_named(
    http: httpx.Client, dialect: Dialect, fields: Any, param: str
) -> None:
    failure = dialect.refusal(http.post(dialect.path, json=dialect.body(**fields)))
    assert (failure.status, failure.param) == (400, param)


# ------------------------------------------------------------------ limits


def limited(name: str, value: int) -> dict[str, Any]:
    return {name: value}


@pytest.mark.parametrize("name", ["n_predict", "num_predict", "max_tokens"])
def test_limits(http: httpx.Client, dialect: Dialect, name: str) -> None:
    answer = dialect.ask(http, ignore_eos=True, **limited(name, 4))
    assert (answer.usage["completion_tokens"], answer.reason) == (4, "length")


@pytest.mark.parametrize("name", ["n_predict", "num_predict", "max_tokens"])
def test_no_limit(http: httpx.Client, dialect: Dialect, name: str) -> None:
    """More than a completion's 16."""
    answer = dialect.ask(http, "hi", stop_token_ids=[], min_tokens=20, **limited(name, -1))
    assert answer.usage["completion_tokens"] >= 20


@pytest.mark.parametrize("name", ["n_predict", "max_tokens"])
def test_nothing_is_generated(http: httpx.Client, dialect: Dialect, name: str) -> None:
    answer = dialect.ask(http, **limited(name, 0))
    assert (answer.text, answer.reason) == ("", "length")
    assert answer.usage["completion_tokens"] == 0
    assert answer.usage["prompt_tokens"] > 0


def test_nothing_is_streamed(http: httpx.Client, streaming: Dialect) -> None:
    chunks = streaming.stream(http, max_tokens=0)
    assert streaming.joined(chunks) == ""
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


def test_the_same_penalty(exact_http: httpx.Client, dialect: Dialect) -> None:
    given: dict[str, Any] = {"temperature": 0, "max_tokens": 24, "ignore_eos": True}
    ours = dialect.ask(exact_http, "a a a a", repeat_penalty=1.5, **given)
    theirs = dialect.ask(exact_http, "a a a a", repetition_penalty=1.5, **given)
    assert theirs.text == ours.text


# ------------------------------------------------------------------ seeds


def test_minus_one_is_a_random_seed(http: httpx.Client, dialect: Dialect) -> None:
    params: dict[str, Any] = {"temperature": 1.5, "max_tokens": 30, "ignore_eos": True}
    first, second = (dialect.ask(http, seed=-1, **params) for _ in range(2))
    seeds = [int(answer.headers["X-Seed"]) for answer in (first, second)]
    assert seeds[0] != seeds[1]
    assert -1 not in seeds
    assert first.text != second.text
    again = dialect.ask(http, seed=seeds[0], **params)
    assert again.headers["X-Seed"] == str(seeds[0])


# ------------------------------------------------------------------ thoughts


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"enable_thinking": False}, (False, None)),
        ({"think": True}, (True, None)),
        ({"think": "low"}, (True, "low")),
        ({"thinking": {"type": "disabled"}}, (False, None)),
        ({"thinking": {"type": "enabled", "budget_tokens": 10}}, (True, None)),
        ({"thinking": {"type": "adaptive"}}, (None, None)),
        ({"reasoning": {"effort": "high", "summary": "auto"}}, (True, "high")),
        ({"reasoning": {"effort": "none"}}, (False, "none")),
        ({"reasoning": {"enabled": False}}, (False, None)),
        ({"reasoning_effort": "low", "think": True}, (True, "low")),
    ],
    ids=str,
)
def test_thoughts_are_the_templates(fields: dict[str, Any], shown: tuple[Any, Any]) -> None:
    types: list[Any] = [ChatBody, TemplateBody]
    for type_ in types:
        raw = {"messages": [{"role": "user", "content": "x"}], **fields}
        given: Any = parse(type_, raw, field_policy.IgnoredFields())
        arguments = given.chat().arguments
        assert (arguments.get("enable_thinking"), arguments.get("reasoning_effort")) == shown


@pytest.mark.parametrize("path", [CHAT.path, "/apply-template"])
def test_contradicting_thoughts(http: httpx.Client, path: str) -> None:
    body = CHAT.body(reasoning_effort="high", thinking={"type": "disabled"})
    failure = CHAT.refusal(http.post(path, json=body))
    assert (failure.status, failure.param) == (400, "thinking")


# ------------------------------------------------------------------ spellings that ask for nothing


NOTHING: list[dict[str, Any]] = [
    {"stop": ""},
    {"stop": []},
    {"stop": [None, ""]},
    {"keep_alive": None},
    {"metadata": {"a": 1}},
    {"user": 5},
    {"max_tokens": "1"},
    {"max_tokens": 1.0},
    {"temperature": "0.5"},
    {"id_slot": -1},
    {"logits_processors": []},
    {"skip_special_tokens": True},
]
FOR_CHAT: list[dict[str, Any]] = [
    {"logprobs": False, "top_logprobs": 0},
    {"top_logprobs": 0},
    {"stream": False, "stream_options": {"include_usage": False}},
    {"stream": False, "stream_options": {"include_usage": True}},
    {"stream": "false"},
    {"verbosity": "medium"},
    {"max_tokens": 1, "max_completion_tokens": 1},
    {"tool_choice": "auto"},
    {"prediction": {"type": "content", "content": "x"}},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
    {"response_format": {"type": "json_schema", "schema": SCHEMA}},
]


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        *((dialect, fields) for dialect in (CHAT, COMPLETIONS) for fields in NOTHING),
        *((CHAT, fields) for fields in FOR_CHAT),
        (COMPLETIONS, {"logprobs": False}),
        (COMPLETIONS, {"best_of": 1}),
        (INFER, {"stop": ""}),
    ],
    ids=str,
)
def test_asks_for_nothing(answering: httpx.Client, dialect: Dialect, fields: Any) -> None:
    answer = answering.post(dialect.path, json={**dialect.body(max_tokens=1), **fields})
    assert answer.status_code == 200, answer.text
    assert HEADER not in answer.headers


@pytest.mark.parametrize(
    "fields",
    [
        {"keep_alive": "5m"},
        {"num_ctx": 4096},
        {"options": {"temperature": 1}},
        {"provider": {"order": ["x"]}},
        {"verbosity": "low"},
    ],
    ids=str,
)
def test_ignored_and_named(answering: httpx.Client, fields: dict[str, Any]) -> None:
    answer = answering.post(CHAT.path, json={**CHAT.body(max_tokens=1), **fields})
    assert answer.status_code == 200, answer.text
    assert answer.headers[HEADER] == next(iter(fields))


# ------------------------------------------------------------------ usage in streams


def test_usage_in_every_chunk(http: httpx.Client, streaming: Dialect) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = streaming.stream(http, max_tokens=6, ignore_eos=True, stream_options=options)
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[-1] == 6
    assert chunks[-1]["choices"] == []
    assert {chunk["usage"]["prompt_tokens"] for chunk in chunks} == {
        chunks[-1]["usage"]["prompt_tokens"]
    }


def test_openrouters_wish_for_usage(http: httpx.Client, streaming: Dialect) -> None:
    chunks = streaming.stream(http, max_tokens=2, usage={"include": True})
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    whole = streaming.ask(http, max_tokens=1, usage={"include": True})
    assert whole.usage["completion_tokens"] == 1


# ------------------------------------------------------------------ what the body is written in


def test_half_an_emoji(http: httpx.Client, dialect: Dialect) -> None:
    body = json.dumps(dialect.body("cut \ud83d", max_tokens=1))
    assert "\\ud83d" in body
    answer = http.post(dialect.path, content=body.encode())
    assert answer.status_code == 200, answer.text


def test_another_encoding(front: httpx.Client, dialect: Dialect) -> None:
    body = json.dumps(dialect.body("é"), ensure_ascii=False)
    for encoding, named in (("utf-16", "UTF-16"), ("latin-1", "0xe9")):
        failure = dialect.refusal(front.post(dialect.path, content=body.encode(encoding)))
        assert failure.status == 400
        assert named in failure.message
