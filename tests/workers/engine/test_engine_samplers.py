"""Every sampler on real llama.cpp: it acts, it survives a resume, and nothing ends the worker."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.engine_driver import Driver, generate
from workers.llama import Model, Sampler
from workers.protocol import BAD_PARAMETER, SAMPLERS, Dry, Sampling
from workers.refused import InputRefused

PROMPT = "Once upon a time there was a little"
BAN = float("-inf")


def ids(
    driver: Driver, max_tokens: int = 24, *, seed: int = 1, prompt: str = PROMPT, **fields: Any
) -> list[int]:
    sampling = Sampling(seed=seed, **fields)
    outcome = driver.alone(generate(1, prompt, sampling=sampling, max_tokens=max_tokens))
    assert len(outcome.ids) == max_tokens
    return outcome.ids


def greedy(driver: Driver, max_tokens: int = 24, **fields: Any) -> list[int]:
    return ids(driver, max_tokens, temperature=0.0, **fields)


# ------------------------------------------------------------------ each one acts


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_bias_forces_a_token(f16: Driver, temperature: float) -> None:
    assert ids(f16, 8, temperature=temperature, logit_bias=[(700, 100.0)]) == [700] * 8


@pytest.mark.parametrize("temperature", [0.0, 100.0])
def test_a_ban_is_final(f16: Driver, f16_model: Model, temperature: float) -> None:
    """At temperature 100 nearly every token is as likely as any other."""
    banned = sorted(set(greedy(f16)) | set(range(0, f16_model.n_vocab, 2)))
    found = ids(f16, 24, temperature=temperature, logit_bias=[(id_, BAN) for id_ in banned])
    assert not set(found) & set(banned)


def test_a_small_bias_changes_the_odds(f16: Driver) -> None:
    plain = greedy(f16)
    assert greedy(f16, logit_bias=[(plain[0], 1.0)])[0] == plain[0]
    assert greedy(f16, logit_bias=[(plain[0], -20.0)])[0] != plain[0]


@pytest.mark.parametrize("ignore_eos", [False, True])
def test_greedy_is_the_same_without_a_chain(f16: Driver, ignore_eos: bool) -> None:
    """With a bias there is one; this one changes nothing."""
    plain, biased = (
        f16.run(
            generate(
                n,
                PROMPT,
                sampling=Sampling(0, temperature=0, logit_bias=bias),
                ignore_eos=ignore_eos,
            )
        )[0].ids
        for n, bias in enumerate(([], [(7, 0.0)]))
    )
    assert plain == biased


def test_the_end_stays_banned_whatever_its_bias(f16: Driver, f16_model: Model) -> None:
    found = greedy(f16, 8, logit_bias=[(id_, 100.0) for id_ in f16_model.eog])
    assert f16_model.eog.isdisjoint(found)


def test_top_n_sigma(f16: Driver) -> None:
    warm: dict[str, Any] = {"temperature": 2.0}
    assert ids(f16, **warm, top_n_sigma=1e-3) == greedy(f16)
    assert ids(f16, **warm, top_n_sigma=1e-300) == greedy(f16), "as float32 this is 0, which is off"
    assert ids(f16, **warm, top_n_sigma=100.0) == ids(f16, **warm)


def test_typical_p(f16: Driver) -> None:
    """One token is the most typical, whatever the seed, and it need not be the likeliest."""
    typical = [ids(f16, seed=seed, typical_p=1e-6) for seed in range(2)]
    assert typical[0] == typical[1]
    assert typical[0] != greedy(f16)


def test_xtc_takes_the_top_choices(f16: Driver) -> None:
    first = greedy(f16, 1)
    assert greedy(f16, 1, xtc_probability=1.0, xtc_threshold=1e-4) != first
    assert greedy(f16, 1, xtc_probability=1.0, xtc_threshold=0.5) == first, "one token above it"


def test_xtc_draws_for_each_position(f16: Driver, f16_model: Model) -> None:
    """The same logits again and again: how often the top choice is taken away."""
    f16.submit(generate(1, PROMPT, max_tokens=2))
    f16.step()
    half = Sampling(3, 0.0, xtc_probability=0.5, xtc_threshold=1e-4)
    sampler = Sampler(f16_model, half, ignore_eos=True, window=512)
    try:
        found = [sampler.sample(f16.context, -1, position) for position in range(60)]
        again = [sampler.sample(f16.context, -1, position) for position in range(60)]
    finally:
        sampler.close()
    f16.run()
    assert found == again
    assert 15 < found.count(greedy(f16, 1)[0]) < 45


def test_dynatemp(f16: Driver) -> None:
    """A large exponent gives the coolest temperature of the range, 0 the warmest."""
    middle: dict[str, Any] = {"temperature": 1.0, "dynatemp_range": 1.0}
    assert ids(f16, **middle, dynatemp_exponent=100.0) == greedy(f16)
    warm = ids(f16, **middle, dynatemp_exponent=0.0)
    assert warm != greedy(f16)
    assert warm == ids(f16, temperature=1.5, dynatemp_range=0.5, dynatemp_exponent=0.0)
    assert warm == greedy(f16, dynatemp_range=2.0, dynatemp_exponent=0.0)
    assert warm != ids(f16, temperature=1.0, dynatemp_range=3.0, dynatemp_exponent=0.0)


def repeated(tokens: list[int], size: int) -> bool:
    parts = [tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1)]
    return len(set(parts)) < len(parts)


def test_dry_stops_repetition(f16: Driver) -> None:
    dry = Dry(100.0, allowed_length=2, last_n=-1, breakers=())
    assert repeated(greedy(f16, 120), 3)
    assert not repeated(greedy(f16, 120, dry=dry), 3)


def test_dry_looks_no_further_back_than_asked(f16: Driver) -> None:
    dry = Dry(100.0, allowed_length=2, last_n=-1, breakers=())
    near = msgspec.structs.replace(dry, last_n=8)
    assert greedy(f16, 120, dry=near) != greedy(f16, 120, dry=dry)


def test_repeat_last_n(f16: Driver) -> None:
    """The last token again is forbidden, or any that was there."""
    strong: dict[str, Any] = {
        "repeat_penalty": 10.0,
        "frequency_penalty": 2.0,
        "presence_penalty": 2.0,
    }
    near, far = (greedy(f16, 60, **strong, repeat_last_n=n) for n in (1, -1))
    assert all(a != b for a, b in pairwise(near))
    assert len(set(far)) > len(set(near))
    assert greedy(f16, 60, **strong, repeat_last_n=0) == greedy(f16, 60)


@pytest.mark.parametrize("cut", [{"top_p": 0.0}, {"min_p": 1.0}, {"typical_p": 0.0}])
def test_min_keep(f16: Driver, cut: dict[str, Any]) -> None:
    one = {tuple(ids(f16, seed=seed, **cut)) for seed in range(3)}
    some = {tuple(ids(f16, seed=seed, **cut, min_keep=50)) for seed in range(3)}
    assert (len(one), len(some)) == (1, 3)


def test_samplers_that_are_not_named_are_not_used(f16: Driver) -> None:
    plain = ids(f16)
    assert ids(f16, temperature=0.0, top_k=1, samplers=[]) == plain
    assert ids(f16, temperature=0.0, top_k=1, samplers=["top_k"]) == greedy(f16)


def test_the_order_of_samplers_counts(f16: Driver) -> None:
    """A temperature before min_p makes it cut less; after it, it sees the model's own odds."""
    cut: dict[str, Any] = {"temperature": 100.0, "min_p": 0.99}
    assert ids(f16, **cut, samplers=["min_p", "temperature"]) == greedy(f16)
    assert ids(f16, **cut, samplers=["temperature", "min_p"]) != greedy(f16)


# ------------------------------------------------------------------ and goes on elsewhere

RESUMED = {
    "dry": Sampling(
        5,
        0.0,
        dry=Dry(2.0, allowed_length=1, last_n=-1, breakers=()),
        logit_bias=[(700, 20.0), (701, 20.0)],
    ),
    "dry with breakers": Sampling(5, 0.7, dry=Dry(2.0, allowed_length=1)),
    "xtc": Sampling(5, 1.0, xtc_probability=0.5, xtc_threshold=0.05),
    "xtc, greedy": Sampling(5, 0.0, xtc_probability=0.5, xtc_threshold=0.01),
    "penalties after xtc": Sampling(
        5,
        1.0,
        xtc_probability=0.5,
        xtc_threshold=0.05,
        repeat_penalty=1.5,
        repeat_last_n=4,
        dry=Dry(2.0, allowed_length=1),
        samplers=["temperature", "xtc", "penalties", "dry", "top_k"],
        top_k=50,
    ),
    "all": Sampling(
        -3,
        0.9,
        top_k=60,
        top_p=0.98,
        min_p=0.001,
        presence_penalty=0.5,
        repeat_penalty=1.1,
        repeat_last_n=-1,
        typical_p=0.95,
        top_n_sigma=3.0,
        xtc_probability=0.3,
        dynatemp_range=0.5,
        dynatemp_exponent=0.8,
        min_keep=2,
        dry=Dry(0.8),
        logit_bias=[(5, -1.0), (700, 3.0)],
    ),
}


@pytest.mark.parametrize("sampling", RESUMED.values(), ids=RESUMED.keys())
def test_resume_at_every_cut(exact: Driver, sampling: Sampling) -> None:
    count = 16
    whole = exact.alone(generate(1, PROMPT, sampling=sampling, max_tokens=count)).ids
    for cut in range(count):
        resume = tuple(whole[:cut])
        again = generate(2 + cut, PROMPT, sampling=sampling, max_tokens=count, resume=resume)
        assert exact.alone(again).ids == whole[cut:]


@pytest.mark.parametrize("name", ["dry", "xtc", "xtc, greedy", "penalties after xtc", "all"])
def test_resumed_samplings_are_no_plain_ones(exact: Driver, name: str) -> None:
    """The test above would say nothing about a sampler that does not act on this prompt."""
    sampling = RESUMED[name]
    plain = msgspec.structs.replace(sampling, dry=None, xtc_probability=0.0)
    found, without = (
        exact.alone(generate(1, PROMPT, sampling=given, max_tokens=16)).ids
        for given in (sampling, plain)
    )
    assert found != without


# ------------------------------------------------------------------ the cache


def test_a_prompt_that_must_not_be_cached(exact: Driver) -> None:
    first = exact.run(generate(1, PROMPT))[0]
    cached = exact.run(generate(2, PROMPT))[0]
    anew = exact.run(generate(3, PROMPT, cache_prompt=False))[0]
    assert first.ids == cached.ids == anew.ids
    assert first.started is not None
    assert cached.started is not None
    assert anew.started is not None
    assert cached.started.cached_tokens == first.started.prompt_tokens - 1
    assert anew.started.cached_tokens == 0
    after = exact.run(generate(4, PROMPT))[0]
    assert after.started is not None
    assert after.started.cached_tokens > 0, "others may still use what it computed"


# ------------------------------------------------------------------ refused, or survived


@pytest.mark.parametrize("token", [-1, 2048, 2**31 - 1])
def test_a_bias_for_no_token(f16: Driver, f16_model: Model, token: int) -> None:
    assert f16_model.n_vocab == 2048
    sampling = Sampling(1, logit_bias=[(5, 1.0), (token, 1.0)])
    with pytest.raises(InputRefused, match=f"0 to 2047, not {token}") as refused:
        f16.input_processor.prepare(generate(1, PROMPT, sampling=sampling))
    assert (refused.value.code, refused.value.param) == (BAD_PARAMETER, "logit_bias")


def test_a_ban_of_every_token(f16: Driver, f16_model: Model) -> None:
    """llama.cpp would choose one of them."""
    most = [(id_, BAN) for id_ in range(f16_model.n_vocab) if id_ not in f16_model.eog]
    rest = [(id_, BAN) for id_ in f16_model.eog]
    for bans, ignore_eos in ((most + rest, False), (most, True)):
        request = generate(1, PROMPT, sampling=Sampling(1, logit_bias=bans), ignore_eos=ignore_eos)
        with pytest.raises(InputRefused, match="every token is banned") as refused:
            f16.input_processor.prepare(request)
        assert refused.value.code == BAD_PARAMETER
    only = generate(1, PROMPT, sampling=Sampling(1, logit_bias=most), ignore_eos=False)
    assert f16.alone(only).reason == "stop"


UNIT = st.floats(0, 1) | st.sampled_from([0.0, 1e-300, 1e-40, 1.0])
WIDE = st.floats(0, 100) | st.sampled_from([0.0, 1e-300, 1e-40, 1e-6, 100.0])
INTS = st.sampled_from([0, 1, 2, 64, 4096, 2**31 - 1])
SAMPLINGS = st.builds(
    Sampling,
    seed=st.integers(-(2**63), 2**63 - 1),
    temperature=WIDE,
    top_k=INTS,
    top_p=UNIT,
    min_p=UNIT,
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    repeat_penalty=st.sampled_from([5e-324, 1e-6, 1.0, 10.0]),
    repeat_last_n=st.none() | st.just(-1) | INTS,
    typical_p=UNIT,
    top_n_sigma=WIDE,
    xtc_probability=UNIT,
    xtc_threshold=UNIT,
    dynatemp_range=WIDE,
    dynatemp_exponent=WIDE,
    min_keep=INTS,
    dry=st.none()
    | st.builds(
        Dry,
        WIDE.filter(bool),
        st.floats(1, 100),
        INTS.filter(bool),
        st.just(-1) | INTS.filter(bool),
        st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)).map(
            tuple
        ),
    ),
    logit_bias=st.lists(
        st.tuples(st.integers(0, 2047), st.sampled_from([BAN, -99.9, 0.0, 100.0])), max_size=30
    ),
    samplers=st.none() | st.lists(st.sampled_from(SAMPLERS), unique=True),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(SAMPLINGS, min_size=4, max_size=4))
def test_no_values_end_the_worker(f16: Driver, samplings: list[Sampling]) -> None:
    """Within the ranges that bodies may have; four at once."""
    requests = [
        generate(id_, PROMPT, sampling=sampling, max_tokens=6)
        for id_, sampling in enumerate(samplings)
    ]
    for outcome in f16.run(*requests):
        assert len(outcome.ids) == 6
        assert all(0 <= id_ < 2048 for id_ in outcome.ids)
