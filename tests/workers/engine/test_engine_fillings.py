"""Generations as editors ask for them: mixed prompts, gaps, ends at lines, and what is told."""

import math

import msgspec
import pytest

from tests.support.engine_driver import Driver, generate, with_params
from tests.workers.engine.test_engine import PROMPT
from workers.llama import Model
from workers.protocol import BAD_PROMPT, NOT_SUPPORTED, Infill, Mixed, Sampling
from workers.refused import InputRefused

LONG = "the quick brown fox jumps over the lazy dog " * 12


# ------------------------------------------------------------------ prompts


def test_texts_and_ids_in_turn(exact: Driver, f32_model: Model) -> None:
    ids = f32_model.tokenize(" upon a time", add_special=False)
    mixed = exact.alone(generate(1, Mixed(["Once", *ids, ", there"])))
    plain = exact.alone(generate(2, "Once upon a time, there"))
    assert mixed.ids == plain.ids


def test_an_id_that_is_not_in_the_vocabulary(f16: Driver, f16_model: Model) -> None:
    with pytest.raises(InputRefused, match="token ids of this model") as refused:
        f16.submit(generate(1, Mixed(["a", f16_model.n_vocab])))
    assert (refused.value.code, refused.value.param) == (BAD_PROMPT, "prompt")


@pytest.mark.parametrize(
    ("prompt", "code", "param"),
    [
        (Infill("a", "b"), BAD_PROMPT, "suffix"),
        (Infill("a", "b", files=[]), NOT_SUPPORTED, "model"),
    ],
)
def test_a_model_without_tokens_for_gaps(
    f16: Driver, prompt: Infill, code: str, param: str
) -> None:
    with pytest.raises(InputRefused, match="no tokens for infilling") as refused:
        f16.submit(generate(1, prompt))
    assert (refused.value.code, refused.value.param) == (code, param)


# ------------------------------------------------------------------ told


def test_the_prompt_is_told_once(f16: Driver) -> None:
    request = with_params(generate(1, f"<|im_start|>{PROMPT}"), tell_prompt=True)
    told = f16.alone(request)
    assert told.prompt == f"<|im_start|>{PROMPT}"
    assert f16.alone(generate(2, PROMPT)).prompt is None
    resumed = f16.alone(with_params(generate(3, PROMPT, resume=(5, 6)), tell_prompt=True))
    assert resumed.prompt is None, "the client was told by an earlier attempt"


def test_progress_is_told_for_each_part_but_the_last(f16: Driver) -> None:
    request = with_params(generate(1, LONG), tell_progress=True)
    told = f16.alone(request)
    assert told.started is not None
    assert len(told.progress) > 0
    assert told.progress == sorted(set(told.progress))
    assert told.progress[-1] < told.started.prompt_tokens
    plain = f16.alone(generate(2, LONG))
    assert (plain.progress, plain.ids) == ([], told.ids)


def test_a_prompt_is_computed_for_requests_to_come(f16: Driver) -> None:
    """Without a token of its own; where that is not asked for, nothing is computed at all."""
    f16.empty()
    nothing = f16.run(generate(1, LONG, max_tokens=0))[0]
    plain = f16.run(generate(2, LONG, max_tokens=1))[0]
    f16.empty()
    warm = f16.run(with_params(generate(3, LONG, max_tokens=0), compute_prompt=True))[0]
    after = f16.run(generate(4, LONG, max_tokens=1))[0]
    assert [(each.ids, each.reason) for each in (nothing, warm)] == [([], "length")] * 2
    assert plain.started is not None
    assert after.started is not None
    assert plain.started.cached_tokens == 0
    assert after.started.cached_tokens == after.started.prompt_tokens - 1
    assert after.ids == plain.ids


# ------------------------------------------------------------------ lines


def test_a_line_ends_the_answer(exact: Driver) -> None:
    """Sampled freely some line begins without blanks before long."""
    warm = Sampling(seed=3, temperature=1.5)
    plain = exact.alone(generate(1, PROMPT, sampling=warm, max_tokens=300))
    assert "\n" in plain.text
    ended = exact.alone(with_params(generate(2, PROMPT, sampling=warm, max_tokens=300), indent=3))
    assert ended.reason == "length"
    assert plain.text.startswith(ended.text)
    first, _, rest = ended.text.partition("\n")
    assert plain.text.startswith(f"{first}\n")
    assert all(line.startswith("   ") for line in rest.split("\n")[:-1])
    assert len(ended.ids) < len(plain.ids)
    # A later attempt goes on behind the tokens that it has, to the same end.
    half = tuple(ended.ids[: len(ended.ids) // 2])
    resumed = exact.alone(
        with_params(generate(3, PROMPT, sampling=warm, max_tokens=300, resume=half), indent=3)
    )
    assert [*half, *resumed.ids] == ended.ids


def test_time_that_another_worker_took_counts(exact: Driver) -> None:
    """The first line that ends after it ends the answer; those that ended before do not."""
    warm = Sampling(seed=3, temperature=1.5)
    plain = exact.alone(generate(1, PROMPT, sampling=warm, max_tokens=300))
    texts = exact.input_processor._model.pieces
    lines = [at for at, id_ in enumerate(plain.ids, start=1) if b"\n" in texts[id_]]
    assert len(lines) > 1
    had = tuple(plain.ids[: lines[0]])
    resumed = generate(2, PROMPT, sampling=warm, max_tokens=300, resume=had)
    limited = with_params(resumed, line_limit_ms=10**6)
    late = exact.alone(msgspec.structs.replace(limited, spent_ms=2e6))
    assert [*had, *late.ids] == plain.ids[: lines[1]]
    early = exact.alone(msgspec.structs.replace(limited, id=3, spent_ms=1.0))
    assert [*had, *early.ids] == plain.ids


# ------------------------------------------------------------------ sampling


def test_texts_are_biased_by_their_tokens(f16: Driver, f16_model: Model) -> None:
    plain = f16.alone(generate(1, PROMPT))
    first = f16_model.pieces[plain.ids[0]].decode()
    request = generate(2, PROMPT)
    banned = f16.alone(with_params(request, text_biases=((first, -math.inf),)))
    ids = f16_model.tokenize(first, add_special=False, parse_special=False)
    assert set(ids).isdisjoint(banned.ids)
    by_id = Sampling(seed=0, temperature=0.0, logit_bias=[(id_, -math.inf) for id_ in ids])
    assert f16.alone(generate(3, PROMPT, sampling=by_id)).ids == banned.ids


def test_biases_of_a_text_and_of_an_id_are_added(f16: Driver) -> None:
    plain = f16.alone(generate(1, PROMPT))
    sampling = Sampling(seed=0, temperature=0.0, logit_bias=[(plain.ids[0], -100.0)])
    piece = f16.input_processor._model.pieces[plain.ids[0]].decode()
    request = with_params(generate(2, PROMPT, sampling=sampling), text_biases=((piece, 100.0),))
    assert f16.alone(request).ids[0] == plain.ids[0]


def test_the_infill_stage_ends_where_the_model_is_unsure(f16: Driver, f16_model: Model) -> None:
    """Of a flat distribution no token is likely enough, and the end is chosen."""
    flat = Sampling(seed=1, temperature=1.0, samplers=["temperature", "infill"])
    hot = Sampling(seed=1, temperature=50.0, samplers=["temperature", "infill"])
    for at, sampling in enumerate((flat, hot)):
        found = f16.alone(generate(at, PROMPT, sampling=sampling, ignore_eos=False))
        assert found.reason in ("stop", "length")
    assert f16_model.eog.intersection(found.ids), "at 50 degrees all tokens are alike"
    assert len(found.ids) == 1
