"""llama-server's options about sampling, as the defaults of requests that they become."""

import json
from typing import Any

import pytest

from gateway.api.body import SamplingBody, parse
from gateway.api.samplers import _SAMPLER_NAMES
from gateway.config.llama_server_compat import NotTaken, translated
from gateway.config.llama_server_sampling import STAGES


def defaults(*arguments: str) -> Any:
    """The value of --sampling, which requests may have: they are read."""
    flag, value, *others = translated(arguments).arguments
    assert (flag, others) == ("--sampling", [])
    found = json.loads(value)
    parse(SamplingBody, found)
    return found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--temp 0.7", {"temperature": 0.7}), ("--temperature=-1", {"temperature": 0}),
        ("--top-k 20", {"top_k": 20}), ("--top-k -1", {"top_k": 0}),
        ("--top-p 0.9 --min-p 0.1", {"top_p": 0.9, "min_p": 0.1}), ("--top-p 2", {"top_p": 1}),
        ("-s 42", {"seed": 42}), ("--seed -1", {"seed": -1}), ("-s 4294967295", {"seed": -1}),
        ("-n 100", {"max_tokens": 100}), ("--predict -1", {"max_tokens": -1}),
        ("--n-predict=0", {"max_tokens": 0}),
        ("--repeat-penalty 1.1 --repeat-last-n 256", {"repeat_penalty": 1.1, "repeat_last_n": 256}),
        ("--presence-penalty -1 --frequency-penalty 2",
         {"presence_penalty": -1, "frequency_penalty": 2}),
        ("--top-nsigma 1.5", {"top_n_sigma": 1.5}), ("--top-n-sigma -2", {"top_n_sigma": -1}),
        ("--typical 0.5", {"typical_p": 0.5}), ("--typical-p 1.5", {"typical_p": 1}),
        ("--xtc-probability 0.5 --xtc-threshold 2", {"xtc_probability": 0.5, "xtc_threshold": 1}),
        ("--dry-multiplier 0.8 --dry-base 2 --dry-allowed-length 3 --dry-penalty-last-n 9",
         {"dry_multiplier": 0.8, "dry_base": 2, "dry_allowed_length": 3, "dry_penalty_last_n": 9}),
        ("--dry-sequence-breaker a --dry-sequence-breaker none --dry-sequence-breaker=b "
         "--dry-sequence-breaker \\n\\x41\\q", {"dry_sequence_breakers": ["b", "\nA\\q"]}),
        ("--dry-sequence-breaker none", {"dry_sequence_breakers": []}),
        ("--dynatemp-range 0.2 --dynatemp-exp 2", {"dynatemp_range": 0.2, "dynatemp_exponent": 2}),
        ("--samplers top-k;TOPP;temp", {"samplers": ["top_k", "top_p", "temperature"]}),
        ("--samplers=", {"samplers": []}),
        ("--sampler-seq kt", {"samplers": ["top_k", "temperature"]}),
        ("--sampling-seq edskypmxti", {"samplers": list(STAGES)}),
        ("--ignore-eos", {"ignore_eos": True}),
        ("-l 15+1 --logit-bias 15-inf -l 7-0.5", {"logit_bias": [[15, 1], [15, -100], [7, -0.5]]}),
        ("--temp 1 --temp 2", {"temperature": 2}),
    ],
)  # fmt: skip
def test_it_is_what_requests_say(line: str, expected: dict[str, Any]) -> None:
    assert defaults(*line.split()) == expected


def test_a_default_stands_before_forges_own_words() -> None:
    """So that --sampling wins where both are said."""
    found = translated(["--sampling", '{"temperature": 1}', "--temp", "2", "-np", "3"])
    assert found.arguments == [
        *("--sampling", '{"temperature": 2.0}', "--slots", "3"),
        *("--sampling", '{"temperature": 1}'),
    ]
    assert found.notes[0] == (
        '--temp 2, llama-server\'s, is taken as --sampling {"temperature": 2.0}: '
        "requests that say nothing have it"
    )


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("--temp", "warm", "expected a number, not 'warm'"),
        ("--temp", "nan", "expected a number, not 'nan'"),
        ("--top-k", "1" * 5000, f"expected a whole number, not '{'1' * 59}..."),
        ("-ub", "9" * 5000, f"expected a whole number, not '{'9' * 59}..."),
        ("--top-k", "9223372036854775808", "expected a whole number, not '9223372036854775808'"),
        ("-ub", "much", "expected a whole number, not 'much'"),
        ("--sse-ping-interval", "9" * 5000, "expected a whole number"),
        ("-n", "-3", "expected a number of tokens, or -1, not '-3'"),
        ("-s", "", "expected a whole number, not ''"),
        ("--samplers", "top_k;mirostat", "expected names of samplers"),
        ("--sampler-seq", "kz", "expected letters of samplers: edskypmxti, not 'kz'"),
        ("-l", "15=1", "expected a token's id and a bias, such as 15043+1, not '15=1'"),
        ("-l", "15+x", "expected a token's id and a bias"),
        ("--adaptive-target", "x", "expected a number, not 'x'"),
    ],
)
def test_wrong_values(flag: str, value: str, expected: str) -> None:
    with pytest.raises(NotTaken) as error:
        translated([flag, value])
    assert str(error.value).startswith(f"{flag}: {expected}")
    assert len(str(error.value)) < 250


def test_samplers_that_keep_a_state_are_not_there() -> None:
    assert translated(["--mirostat", "0", "--adaptive-target", "-1"]).arguments == []
    for flag, value in (("--mirostat", "2"), ("--adaptive-target", "0.5")):
        with pytest.raises(NotTaken, match=f"{flag} is llama-server's; here there is"):
            translated([flag, value])


def test_the_stages_are_those_of_requests() -> None:
    assert set(STAGES) == set(_SAMPLER_NAMES.values())
