"""Bodies: what is refused, under which name, and what the accepted ones mean."""

import math
from typing import Any

import pytest

from gateway.api.body import SamplingBody, parse
from gateway.api.field_policy import IgnoredFields, fields, policy
from gateway.api.field_table import Below
from gateway.api.infer import InferBody
from gateway.api.openai.chat import ChatBody
from gateway.api.openai.completions import CompletionBody
from gateway.api.urgency import priority, timeout
from gateway.core.errors import (
    BadRequest,
    PriorityNotAllowed,
    UnknownParameter,
    UnsupportedParameter,
)
from gateway.core.priority import NORMAL

USER = {"role": "user", "content": "hi"}


def sampling_body(**fields: Any) -> SamplingBody:
    return parse(SamplingBody, fields)


def refusal(type_: type[SamplingBody], raw: dict[str, Any]) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(type_, raw)
    assert caught.value.status == 400
    assert len(caught.value.message.splitlines()) == 1
    return caught.value


# ------------------------------------------------------------------ each numeric field

NUMERIC: dict[str, tuple[type, list[Any], list[Any]]] = {
    # name: type, values in range, values out of range
    "max_tokens": (int, [-1, 0, 1, 2**31 - 1], [-2, 2**31]),
    "min_tokens": (int, [0, 2**31 - 1], [-1, 2**31]),
    "thinking_budget_tokens": (int, [-1, 0, 2**31 - 1], [-2, 2**31]),
    "temperature": (float, [0, 0.5, 100], [-0.1, 100.1, 1e308]),
    "top_p": (float, [0, 0.5, 1], [-0.01, 1.01]),
    "top_k": (int, [-1, 0, 2**31 - 1], [-2, 2**31]),
    "min_p": (float, [0, 1], [-0.01, 1.01]),
    "seed": (int, [0, -(2**63), 2**63 - 1], [2**63, -(2**63) - 1]),
    "presence_penalty": (float, [-2, 0, 2], [-2.01, 2.01]),
    "frequency_penalty": (float, [-2, 0, 2], [-2.01, 2.01]),
    "repeat_penalty": (float, [0.01, 10], [0, -1, 10.01]),
    "repeat_last_n": (int, [-1, 0, 2**31 - 1], [-2, 2**31]),
    "typical_p": (float, [0, 1], [-0.01, 1.01]),
    "top_n_sigma": (float, [-1, 0, 100], [-1.01, 100.1]),
    "xtc_probability": (float, [0, 1], [-0.01, 1.01]),
    "xtc_threshold": (float, [0, 1], [-0.01, 1.01]),
    "dynatemp_range": (float, [0, 100], [-0.01, 100.1]),
    "dynatemp_exponent": (float, [0, 100], [-0.01, 100.1]),
    "min_keep": (int, [0, 2**31 - 1], [-1, 2**31]),
    "dry_multiplier": (float, [0, 100], [-0.01, 100.1]),
    "dry_base": (float, [1, 100], [0.99, 100.1]),
    "dry_allowed_length": (int, [1, 2**31 - 1], [0, 2**31]),
    "dry_penalty_last_n": (int, [-1, 0, 2**31 - 1], [-2, 2**31]),
}


@pytest.mark.parametrize("name", sorted(NUMERIC))
def test_numeric_fields(name: str) -> None:
    type_, good, bad = NUMERIC[name]
    for value in good:
        assert getattr(sampling_body(**{name: value}), name) == value
    assert getattr(sampling_body(**{name: None}), name) is None
    good_text = "1" if type_ is int else "1.0"
    for value in (good_text, f" {good_text} ", 1.0):  # as many clients write numbers
        assert getattr(sampling_body(**{name: value}), name) == 1
    wrong = [True, False, "one", "", "0x1", "nan", "1e999", "1 1", "9" * 5000]
    wrong += [[], [1], {}, {"a": 1}]
    wrong += [1.5, "1.5", 1e30] if type_ is int else []
    for value in [*bad, *wrong]:
        error = refusal(SamplingBody, {name: value})
        assert error.param == name, value
        assert error.message.startswith(f"'{name}': ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "name", [n for n, (type_, _, _) in sorted(NUMERIC.items()) if type_ is float]
)
def test_numbers_are_finite(name: str, value: float) -> None:
    """JSON can't say these, other sources of a body might."""
    assert refusal(SamplingBody, {name: value}).param == name


def test_null_is_the_default() -> None:
    nothing = sampling_body(**dict.fromkeys(fields(SamplingBody)[0]))
    assert nothing == sampling_body()
    sampling = nothing.sampling(temperature=0.7)
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.7, 0, 1, 0)
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (0, 0)
    assert sampling.repeat_penalty == 1
    assert nothing.stops() == ()


def test_zero_is_not_the_default() -> None:
    sampling = sampling_body(temperature=0, top_p=0, seed=0, top_k=-1).sampling(temperature=1.0)
    assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.top_k) == (0, 0, 0, 0)
    assert isinstance(sampling.temperature, float), "the worker's codec is strict"


def test_seed_is_drawn_when_not_given() -> None:
    seeds = {sampling_body().sampling(temperature=1).seed for _ in range(20)}
    assert len(seeds) > 15
    assert all(0 <= seed < 2**32 for seed in seeds)


# ------------------------------------------------------------------ the other fields


@pytest.mark.parametrize(
    ("value", "stops"),
    [("a", ("a",)), (["a", "b"], ("a", "b")), ([], ()), (None, ()), (["x"] * 16, ("x",) * 16)],
)
def test_stops(value: Any, stops: tuple[str, ...]) -> None:
    assert sampling_body(stop=value).stops() == stops


@pytest.mark.parametrize(
    ("type_", "raw", "param"),
    [
        (SamplingBody, {"ignore_eos": 1}, "ignore_eos"),
        (SamplingBody, {"ignore_eos": "yes"}, "ignore_eos"),
        (SamplingBody, {"priority": True}, "priority"),
        (SamplingBody, {"priority": [1]}, "priority"),
        (SamplingBody, {"priority": {}}, "priority"),
        (InferBody, {}, "query"),
        (InferBody, {"query": None}, "query"),
        (InferBody, {"query": ""}, "query"),
        (InferBody, {"query": 5}, "query"),
        (InferBody, {"query": ["x"]}, "query"),
        (InferBody, {"query": "x", "raw": 1}, "raw"),
        (CompletionBody, {}, "prompt"),
        (CompletionBody, {"prompt": 5}, "prompt"),
        (CompletionBody, {"prompt": "x", "stream": "yes"}, "stream"),
        (ChatBody, {}, "messages"),
        (ChatBody, {"messages": []}, "messages"),
        (ChatBody, {"messages": "hi"}, "messages"),
        (ChatBody, {"messages": ["hi"]}, "messages.0"),
        (ChatBody, {"messages": [USER, {"role": "user"}]}, "messages.1.content"),
        (ChatBody, {"messages": [{"role": "king", "content": ""}]}, "messages.0.role"),
        (ChatBody, {"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        (ChatBody, {"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        (ChatBody, {"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
        (ChatBody, {"messages": [{**USER, "extra": 1}]}, "messages.0.extra"),
        (ChatBody, {"messages": [USER], "max_completion_tokens": -2}, "max_completion_tokens"),
        (ChatBody, {"messages": [USER], "service_tier": "gold"}, "service_tier"),
        (ChatBody, {"messages": [USER], "stream_options": []}, "stream_options"),
        (ChatBody, {"messages": [USER], "stream_options": {"x": 1}}, "stream_options.x"),
        (ChatBody, {"messages": [USER], "model": 5}, "model"),
    ],
)
def test_bad_bodies(type_: type[SamplingBody], raw: dict[str, Any], param: str) -> None:
    error = refusal(type_, raw)
    assert error.param == param


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (["x"] * 17, "at most 16"),
        (["a", 5], "string"),
        (5, "string"),
        (True, "string"),
        ({"a": "b"}, "string"),
    ],
)
def test_bad_stop(value: Any, reason: str) -> None:
    """A field of several types yields an error for each: name the field, tell the one that fits."""
    error = refusal(SamplingBody, {"stop": value})
    assert error.param in {"stop", "stop.1"}
    assert reason in error.message


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "image_url", "image_url": {}}, "type"),
        ({"type": "text"}, "text"),
        ({"type": "text", "text": 5}, "text"),
    ],
)
def test_bad_content_part(part: dict[str, Any], param: str) -> None:
    error = refusal(ChatBody, {"messages": [{"role": "user", "content": [part]}]})
    assert error.param is not None
    assert error.param.startswith("messages.0.content")


@pytest.mark.parametrize("name", ["nonsense", "top_P", "query2", "logits"])
def test_unknown_parameter(name: str) -> None:
    error = refusal(InferBody, {"query": "x", name: 1})
    assert isinstance(error, UnknownParameter)
    assert error.param == name
    assert f"'{name}'" in error.message


@pytest.mark.parametrize("name", ["Temperature", "str", "a[0]", "int"])
def test_unknown_parameter_that_looks_like_a_type(name: str) -> None:
    error = refusal(InferBody, {"query": "x", name: 1})
    assert isinstance(error, UnknownParameter)
    assert error.param == name


# ------------------------------------------------------------------ known, not served yet


@pytest.mark.parametrize(
    ("type_", "base"),
    [
        (ChatBody, {"messages": [USER]}),
        (CompletionBody, {"prompt": "x"}),
        (InferBody, {"query": "x"}),
    ],
)
def test_refused_by_name(type_: type[SamplingBody], base: dict[str, Any]) -> None:
    table = policy(type_.place).refused
    assert len(table) > 1
    for name, neutral in table.items():
        assert name not in type_.model_fields
        for value in (None, *neutral):
            parse(type_, {**base, name: -1 if isinstance(value, Below) else value})
        for value in (object(), 2, "other", ["other"], {"other": 1}):
            with pytest.raises(UnsupportedParameter, match=f"'{name}' is not supported") as caught:
                parse(type_, {**base, name: value}, IgnoredFields())
            assert caught.value.param == name


@pytest.mark.parametrize("value", [True, 1.0, "1"])
def test_neutral_means_the_same_type(value: Any) -> None:
    """Python says True == 1 == 1.0; a client that says best_of: true has made a mistake."""
    with pytest.raises(UnsupportedParameter):
        parse(CompletionBody, {"prompt": "x", "best_of": value})


def test_parse_leaves_the_body_alone() -> None:
    raw = {"prompt": "x", "best_of": 1}
    parse(CompletionBody, raw)
    assert raw == {"prompt": "x", "best_of": 1}


# ------------------------------------------------------------------ priority


@pytest.mark.parametrize(
    ("value", "headers", "tier", "expected"),
    [
        (None, {}, None, NORMAL),
        (None, {}, "flex", 0.0),
        (None, {}, "default", 1.0),
        (None, {}, "auto", 1.0),
        (None, {}, "priority", 2.0),
        (None, {"x-priority": "urgent"}, "flex", 2.0),
        (None, {"x-priority": " 2.5 "}, None, 2.5),
        (None, {"x-priority": "-3"}, None, -3.0),
        (None, {"x-priority": "BATCH"}, None, 0.0),
        ("normal", {"x-priority": "urgent"}, "priority", 1.0),
        ("Urgent", {}, None, 2.0),
        (0, {"x-priority": "urgent"}, None, 0.0),
        (-1, {}, None, -1.0),
        (0.25, {}, None, 0.25),
        (1e308, {}, None, 1e308),
    ],
)
def test_priority(
    value: float | str | None, headers: dict[str, str], tier: str | None, expected: float
) -> None:
    assert priority(value, headers, tier) == expected


@pytest.mark.parametrize(
    "value", ["nan", "inf", "high", "", "2", float("nan"), float("inf"), 10**400]
)
def test_bad_priority_in_the_body(value: float | str) -> None:
    with pytest.raises(
        BadRequest, match="finite number or one of 'batch', 'normal', 'urgent'"
    ) as c:
        priority(value, {"x-priority": "2"}, None)
    assert c.value.param == "priority"


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", "high", "", "1e999", "2,5"])
@pytest.mark.parametrize("of_body", [None, 1])
def test_bad_priority_in_the_header(value: str, of_body: float | None) -> None:
    """A header that the body overrules is looked at too: it is a mistake all the same."""
    with pytest.raises(BadRequest) as caught:
        priority(of_body, {"x-priority": value}, "priority")
    assert caught.value.param == "X-Priority"


def test_timeout() -> None:
    assert timeout(None, {}) is None
    assert timeout(2.5, {}) == 2.5
    assert timeout(None, {"x-request-timeout": "3"}) == 3
    assert timeout(2, {"x-request-timeout": "3"}) == 2
    with pytest.raises(BadRequest) as caught:
        timeout(2, {"x-request-timeout": "soon"})
    assert caught.value.param == "X-Request-Timeout"


# ------------------------------------------------------------------ what a key allows

ASKED: list[tuple[float | str | None, dict[str, str], str | None, str]] = [
    (2, {}, None, "priority"),
    ("urgent", {"x-priority": "0"}, "flex", "priority"),
    (None, {"x-priority": "urgent"}, None, "X-Priority"),
    (None, {"x-priority": "2"}, "flex", "X-Priority"),
    (None, {}, "priority", "service_tier"),
]
"""Ways to ask for 2, with the place that counts."""


@pytest.mark.parametrize(("value", "headers", "tier", "param"), ASKED)
def test_above_the_highest(
    value: float | str | None, headers: dict[str, str], tier: str | None, param: str
) -> None:
    for highest in (2.0, 3.0, math.inf):
        assert priority(value, headers, tier, highest) == 2
    for highest, shown in ((1.5, "1.5"), (1.0, "1"), (-7.0, "-7")):
        with pytest.raises(PriorityNotAllowed, match=f"priority of {shown} at most") as caught:
            priority(value, headers, tier, highest)
        assert (caught.value.status, caught.value.param) == (403, param)


@pytest.mark.parametrize("tier", [None, "auto"])
def test_who_asks_for_none_gets_what_is_allowed(tier: str | None) -> None:
    assert priority(None, {}, tier, math.inf) == 1
    assert priority(None, {}, tier, 1.5) == 1
    assert priority(None, {}, tier, 0.25) == 0.25


def test_nonsense_is_nonsense_whatever_is_allowed() -> None:
    with pytest.raises(BadRequest):
        priority(math.inf, {}, None, 0.0)
    with pytest.raises(BadRequest):
        priority(None, {"x-priority": "soon"}, None, 0.0)
