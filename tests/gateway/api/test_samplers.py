"""The fields about sampling: what they mean for a worker, and what they can get wrong."""

import math
from typing import Any

import pytest

from gateway.api.body import SamplingBody, parse
from gateway.core.errors import BadRequest, UnsupportedParameter
from workers.protocol import SAMPLERS, Dry, Sampling


def sampling(**fields: Any) -> Sampling:
    return parse(SamplingBody, {"seed": 7, **fields}).sampling(temperature=1.0)


def refusal(**fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(SamplingBody, fields)
    assert len(caught.value.message.splitlines()) == 1
    assert len(caught.value.message) < 300
    return caught.value


def test_nothing_is_asked_for_by_default() -> None:
    assert sampling() == Sampling(seed=7)


@pytest.mark.parametrize("name", ["repeat_last_n", "typical_p", "min_keep", "dynatemp_exponent"])
def test_under_the_same_name(name: str) -> None:
    assert getattr(sampling(**{name: 0}), name) == 0


def test_off_is_one_value_for_the_worker() -> None:
    assert sampling(top_n_sigma=-1, top_k=-1) == sampling(top_n_sigma=0, top_k=0) == sampling()


def test_numbers_are_floats_where_the_codec_wants_them() -> None:
    whole = sampling(typical_p=1, top_n_sigma=2, xtc_probability=1, dynatemp_range=1, dry_base=2)
    for value in (whole.typical_p, whole.top_n_sigma, whole.xtc_probability, whole.dynatemp_range):
        assert isinstance(value, float)


# ------------------------------------------------------------------ dry


def test_dry() -> None:
    assert sampling(dry_multiplier=0.8).dry == Dry(0.8, 1.75, 2, 64, ("\n", ":", '"', "*"))
    everything = sampling(
        dry_multiplier=1,
        dry_base=2,
        dry_allowed_length=3,
        dry_penalty_last_n=-1,
        dry_sequence_breakers=["x"],
    )
    assert everything.dry == Dry(1.0, 2.0, 3, -1, ("x",))
    assert sampling(dry_multiplier=1, dry_sequence_breakers=[]).dry == Dry(1.0, breakers=())


@pytest.mark.parametrize(
    "fields",
    [
        {"dry_base": 2, "dry_sequence_breakers": ["x"]},
        {"dry_multiplier": 0, "dry_base": 2},
        {"dry_multiplier": 1, "dry_penalty_last_n": 0},
    ],
)
def test_dry_is_off(fields: dict[str, Any]) -> None:
    assert sampling(**fields).dry is None


@pytest.mark.parametrize(
    "value", ["x", {}, [""], ["x" * 65], [5], [None], ["x"] * 17, ["x" * 50] * 80_000]
)
def test_bad_breakers(value: Any) -> None:
    param = refusal(dry_multiplier=1, dry_sequence_breakers=value).param
    assert param in {"dry_sequence_breakers", "dry_sequence_breakers.0"}


# ------------------------------------------------------------------ samplers


def test_order() -> None:
    assert sampling().samplers is None
    assert sampling(samplers=[]).samplers == []
    assert sampling(samplers=["xtc", "typical_p", "top_k"]).samplers == ["xtc", "typ_p", "top_k"]
    assert sampling(samplers=list(SAMPLERS)).samplers == list(SAMPLERS)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (["top_k", "topk"], "'topk'"),
        (["mirostat"], "'mirostat'"),
        (["adaptive_p"], "'adaptive_p'"),
        (["top_k", "min_p", "top_k"], "'top_k' is there twice"),
        (["typ_p", "typical_p"], "'typical_p' is there twice"),
        (["top_k"] * 10_000, "'top_k' is there twice"),
        (["x" * 1_000_000], "'xxx"),
        (["{message}\n"], "{message}"),
        ([5], "5"),
        ([["top_k"]], "['top_k']"),
        ("kfypmxt", "array"),
        ({"top_k": 1}, "array"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_order(value: Any, named: str) -> None:
    error = refusal(samplers=value)
    assert (error.param, error.code) == ("samplers", "invalid_request")
    assert named in error.message


# ------------------------------------------------------------------ logit_bias


@pytest.mark.parametrize(
    ("value", "biases"),
    [
        ({}, []),
        ([], []),
        ({"5": 1, "7": -1.5}, [(5, 1.0), (7, -1.5)]),
        ({"5": 100, "7": -100}, [(5, 100.0), (7, -math.inf)]),
        ([[5, 1], [7, -100]], [(5, 1.0), (7, -math.inf)]),
        ([[5, False]], [(5, -math.inf)]),
        ({"5": 1, "05": 2}, [(5, 3.0)]),
        ([[5, 1], [7, 2], [5, -0.5]], [(5, 0.5), (7, 2.0)]),
        ([[5, 100], [5, 100]], [(5, 200.0)]),
        ([[5, False], [5, 100], [7, 100], [7, -100]], [(5, -math.inf), (7, -math.inf)]),
        ({str(id_): 1 for id_ in range(1024)}, [(id_, 1.0) for id_ in range(1024)]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_biases(value: Any, biases: list[tuple[int, float]]) -> None:
    found = sampling(logit_bias=value).logit_bias
    assert found == biases
    assert all(isinstance(bias, float) for _, bias in found)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("5", "object"),
        (5, "object"),
        ({"hello": 1}, "'hello'"),
        ({"-1": 1}, "'-1'"),
        ({"1.0": 1}, "'1.0'"),
        ({"": 1}, "''"),
        ({"٣": 1}, "'٣'"),
        ({"2147483648": 1}, "2147483648"),
        ({"1" * 5000: 1}, "111"),
        ({"5": 100.5}, "100.5"),
        ({"5": -101}, "-101"),
        ({"5": "1"}, "'1'"),
        ({"5": True}, "True"),
        ({"5": None}, "None"),
        ({"5": math.nan}, "nan"),
        ({"5": math.inf}, "inf"),
        ({"5": [1] * 10_000}, "[1, 1"),
        ([5, 1], "[token id, bias], not 5"),
        ([[5]], "[5]"),
        ([[5, 1, 1]], "[5, 1, 1]"),
        ([["hello", 1]], "'hello'"),
        ([[True, 1]], "True"),
        ([[-1, 1]], "-1"),
        ([[2**31, 1]], "2147483648"),
        ({str(id_): 1 for id_ in range(1025)}, "at most 1024"),
        ([[5, 1]] * 1025, "at most 1024"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_biases(value: Any, named: str) -> None:
    error = refusal(logit_bias=value)
    assert (error.param, error.code) == ("logit_bias", "invalid_request")
    assert named in error.message


# ------------------------------------------------------------------ those that can't be resumed

MIROSTAT = {"mirostat": 2, "mirostat_tau": 5.0, "mirostat_eta": 0.1}
ADAPTIVE = {"adaptive_target": 0.5, "adaptive_decay": 0.9}


@pytest.mark.parametrize("name", ["mirostat", "adaptive_target"])
def test_stateful_samplers_are_refused_with_the_reason(name: str) -> None:
    error = refusal(**{name: {**MIROSTAT, **ADAPTIVE}[name]})
    assert isinstance(error, UnsupportedParameter)
    assert error.param == name
    assert f"'{name}'" in error.message
    assert "another worker" in error.message


@pytest.mark.parametrize("value", [1, 2, 0.5, True, False, "0", [], {}])
def test_mirostat_is_on(value: Any) -> None:
    assert refusal(mirostat=value).param == "mirostat"


@pytest.mark.parametrize(
    "fields",
    [
        {**MIROSTAT, "mirostat": 0},
        {**MIROSTAT, "mirostat": 0.0},
        {**ADAPTIVE, "adaptive_target": -1},
        dict.fromkeys([*MIROSTAT, *ADAPTIVE]),
        {"mirostat_tau": 5.0, "mirostat_eta": 0.1, "adaptive_decay": 0.9},
    ],
)
def test_what_is_off_asks_for_nothing(fields: dict[str, Any]) -> None:
    assert sampling(**fields) == sampling()
