"""Ends of generations: tokens of the client's own, and not before so many tokens."""

import math

import pytest

from tests.support.engine_driver import Driver, generate, with_params
from tests.workers.engine.test_engine import HELLO, PROMPT, SEEDED
from workers.llama import Model
from workers.protocol import BAD_CONSTRAINT, BAD_PARAMETER, Generate, Grammar, JsonSchema, Sampling
from workers.refused import InputRefused

WARM = Sampling(seed=5, temperature=1.2)


def hello(id_: int, **params: object) -> Generate:
    """A chat whose answer ends by itself."""
    return with_params(generate(id_, HELLO, max_tokens=200, ignore_eos=False), **params)


# ------------------------------------------------------------------ tokens that end it


@pytest.mark.parametrize("at", [0, 3, 10])
def test_a_stop_token_ends_the_answer(f16: Driver, f16_model: Model, at: int) -> None:
    whole = f16.alone(generate(1, PROMPT))
    stop = whole.ids[at]
    first = whole.ids.index(stop)
    stopped = f16.alone(with_params(generate(2, PROMPT), stop_token_ids=(stop, 5)))
    assert stopped.reason == "stop"
    assert stopped.ids == whole.ids[: first + 1], "it is counted, as the model's own end is"
    pieces = b"".join(f16_model.pieces[token] for token in whole.ids[:first])
    assert stopped.text == pieces.decode(), "and no part of the text"


def test_the_models_own_ends_stay(f16: Driver) -> None:
    plain = f16.alone(hello(1))
    same = f16.alone(hello(2, stop_token_ids=(f16.input_processor._model.n_vocab - 1,)))
    assert (same.ids, same.text, same.reason) == (plain.ids, plain.text, "stop")


def test_a_stop_token_must_be_in_the_vocabulary(f16: Driver, f16_model: Model) -> None:
    request = with_params(generate(1, PROMPT), stop_token_ids=(5, f16_model.n_vocab))
    with pytest.raises(InputRefused, match="token ids of this model") as refused:
        f16.submit(request)
    assert (refused.value.code, refused.value.param) == (BAD_PARAMETER, "stop_token_ids")


# ------------------------------------------------------------------ not before so many


@pytest.mark.parametrize("more", [1, 2, 20])
def test_it_goes_on_past_the_models_end(f16: Driver, f16_model: Model, more: int) -> None:
    plain = f16.alone(hello(1))
    assert plain.reason == "stop"
    least = len(plain.ids) - 1 + more
    longer = f16.alone(hello(2, min_tokens=least))
    assert longer.ids[: len(plain.ids) - 1] == plain.ids[:-1]
    assert len(longer.ids) >= least
    assert f16_model.eog.isdisjoint(longer.ids[:least])


def test_fewer_than_there_are_change_nothing(f16: Driver) -> None:
    plain = f16.alone(hello(1))
    same = f16.alone(hello(2, min_tokens=len(plain.ids) - 1))
    assert (same.ids, same.text, same.reason) == (plain.ids, plain.text, plain.reason)


def test_no_stop_token_before(f16: Driver) -> None:
    whole = f16.alone(generate(1, PROMPT))
    request = with_params(generate(2, PROMPT), stop_token_ids=(whole.ids[2],), min_tokens=9)
    found = f16.alone(request)
    assert whole.ids[2] not in found.ids[:9]
    assert len(found.ids) >= 9


def test_no_stop_text_before(f16: Driver, f16_model: Model) -> None:
    whole = f16.alone(generate(1, PROMPT))
    stop = " "
    request = with_params(generate(2, PROMPT, stop=(stop,)), min_tokens=9)
    found = f16.alone(request)
    text = b"".join(f16_model.pieces[token] for token in whole.ids[:9]).decode()
    assert stop in text
    assert found.text.startswith(text)
    assert stop not in found.text[len(text) :]
    assert found.reason == "stop"


def test_a_form_ends_where_it_ends(f16: Driver) -> None:
    """An answer of a fixed form can't go on: the number is an aim, and not an error."""
    constraint = Grammar('root ::= "yes"')
    found = f16.alone(hello(1, constraint=constraint, min_tokens=50))
    assert (found.text, found.reason) == ("yes", "stop")


def test_a_form_that_can_go_on_does(f16: Driver) -> None:
    constraint = Grammar('root ::= "a"+')
    short = f16.alone(hello(1, constraint=constraint, max_tokens=60))
    found = f16.alone(hello(2, constraint=constraint, min_tokens=40, max_tokens=60))
    assert len(found.ids) >= 40
    assert len(short.text) <= len(found.text)


@pytest.mark.parametrize("constraint", [None, JsonSchema({"type": "string", "maxLength": 30})])
def test_resumed_at_every_token(f16: Driver, constraint: JsonSchema | None) -> None:
    def ask(id_: int, resume: tuple[int, ...] = ()) -> Generate:
        request = generate(
            id_, HELLO, max_tokens=24, sampling=SEEDED, ignore_eos=False, resume=resume, stop=("e",)
        )
        return with_params(request, min_tokens=12, stop_token_ids=(7,), constraint=constraint)

    whole = f16.alone(ask(1))
    for cut in range(1, len(whole.ids)):
        rest = f16.alone(ask(2, tuple(whole.ids[:cut])))
        assert whole.ids[cut:] == rest.ids
        assert whole.text.endswith(rest.text)
        assert whole.reason == rest.reason


# ------------------------------------------------------------------ texts that end a turn


def test_a_turn_that_ends_with_a_text(f16: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the mark of the template is no token; it ends nothing that is to go on."""
    whole = f16.alone(generate(1, HELLO))
    mark = whole.text[6:9]
    monkeypatch.setattr(f16.input_processor, "_stops", [mark])
    ended = f16.alone(hello(2))
    assert (ended.text, ended.reason) == (whole.text.partition(mark)[0], "stop")
    endless = f16.alone(generate(3, HELLO))
    assert (endless.ids, endless.text, endless.reason) == (whole.ids, whole.text, "length")
    longer = f16.alone(hello(4, min_tokens=len(ended.ids) + 1))
    assert longer.text.startswith(ended.text + mark)


# ------------------------------------------------------------------ a bias against the form


@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_a_ban_of_all_that_the_form_allows_is_named(
    f16: Driver, f16_model: Model, temperature: float
) -> None:
    banned = [t for t in range(f16_model.n_vocab) if f16_model.pieces[t][:1] in (b"y", b"n")]
    sampling = Sampling(1, temperature, logit_bias=[(token, -math.inf) for token in banned])
    request = generate(1, HELLO, sampling=sampling, ignore_eos=False)
    failed, beside = f16.run(
        with_params(request, constraint=Grammar('root ::= ("yes" | "no")')), generate(2, PROMPT)
    )
    assert failed.failure is not None
    assert (failed.failure.code, failed.failure.param) == (BAD_CONSTRAINT, "logit_bias")
    assert "'logit_bias'" in failed.failure.message
    assert (beside.reason, len(beside.ids)) == ("length", 24)


def test_a_ban_that_leaves_a_way_is_kept(f16: Driver, f16_model: Model) -> None:
    banned = [t for t in range(f16_model.n_vocab) if f16_model.pieces[t][:1] == b"y"]
    sampling = Sampling(1, 1.0, logit_bias=[(token, -math.inf) for token in banned])
    request = generate(1, HELLO, sampling=sampling, ignore_eos=False)
    found = f16.alone(with_params(request, constraint=Grammar('root ::= ("yes" | "no")')))
    assert (found.text, found.reason) == ("no", "stop")
