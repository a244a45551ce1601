"""The engine on real llama.cpp: what a generation says, and that it leaves nothing behind."""

import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.support.engine_driver import GREEDY, Driver, Outcome, driver, generate
from workers.llama import Model, Sampler
from workers.protocol import BAD_PROMPT, CONTEXT_OVERFLOW, Chat, Sampling, Step
from workers.refused import InputRefused

PROMPT = "Once upon a time there was a little"
HELLO = Chat([{"role": "user", "content": "What is 2+2?"}])
SEEDED = Sampling(seed=1234, temperature=1.0)
PENALISED = Sampling(
    seed=-7,
    temperature=0.8,
    top_k=40,
    top_p=0.95,
    min_p=0.01,
    presence_penalty=0.5,
    frequency_penalty=0.3,
    repeat_penalty=1.2,
)


def same(left: Outcome, right: Outcome) -> None:
    assert (left.ids, left.text, left.reason) == (right.ids, right.text, right.reason)


# ------------------------------------------------------------------ one generation


@pytest.mark.parametrize("sampling", [GREEDY, SEEDED, PENALISED])
def test_same_request_same_answer(f16: Driver, sampling: Sampling) -> None:
    first = f16.alone(generate(1, PROMPT, sampling=sampling))
    second = f16.alone(generate(2, PROMPT, sampling=sampling))
    assert (len(first.ids), first.reason) == (24, "length")
    same(first, second)


def test_seeds_matter(f16: Driver) -> None:
    answers = {
        tuple(f16.alone(generate(seed, PROMPT, sampling=Sampling(seed, 1.0))).ids)
        for seed in range(5)
    }
    assert len(answers) == 5


@pytest.mark.parametrize("sampling", [GREEDY, SEEDED, PENALISED])
def test_resume_at_every_cut(exact: Driver, sampling: Sampling) -> None:
    """Another worker goes on after any number of tokens as if nothing had happened.

    On the exact model: the resumed tokens are computed in one batch, not one by one.
    """
    whole = exact.alone(generate(1, PROMPT, sampling=sampling, max_tokens=12))
    assert len(whole.ids) == 12
    for cut in range(12):
        again = generate(
            100 + cut,
            PROMPT,
            sampling=sampling,
            max_tokens=12,
            resume=tuple(whole.ids[:cut]),
            attempt=2,
        )
        rest = exact.alone(again)
        assert rest.ids == whole.ids[cut:]
        assert rest.text == "".join(whole.texts[cut:])
        assert rest.reason == whole.reason
        assert whole.started is not None
        assert rest.started is not None
        assert rest.started.prompt_tokens == whole.started.prompt_tokens


def test_resume_replays_what_was_held_back(f16: Driver) -> None:
    """The client has the text before the cut, but not the part that might begin a stop string."""
    whole = f16.alone(generate(1, PROMPT))
    # A stop string that begins in the middle of one token and ends in another.
    at = len(whole.texts[0] + whole.texts[1]) - 1
    stop = (whole.text[at : at + len(whole.texts[2]) + 1],)
    stopped = f16.alone(generate(2, PROMPT, stop=stop))
    assert stopped.reason == "stop"
    for cut in range(1, len(stopped.ids)):
        resume = tuple(stopped.ids[:cut])
        rest = f16.alone(generate(10 + cut, PROMPT, stop=stop, resume=resume))
        assert rest.ids == stopped.ids[cut:]
        assert "".join(stopped.texts[:cut]) + rest.text == stopped.text


@pytest.mark.parametrize("begin", [0, 1, 5])
@pytest.mark.parametrize("length", [1, 2, 7])
def test_stop_strings_straddle_tokens(f16: Driver, begin: int, length: int) -> None:
    whole = f16.alone(generate(1, PROMPT))
    stop = whole.text[begin : begin + length]
    stopped = f16.alone(generate(2, PROMPT, stop=(stop,)))
    assert stopped.reason == "stop"
    assert stopped.text == whole.text[: whole.text.index(stop)]
    assert stopped.ids == whole.ids[: len(stopped.ids)], "the ids of what was cut are told too"


def test_end_of_generation_and_ignoring_it(f16: Driver, f16_model: Model) -> None:
    """A chat answer ends by itself; with ignore_eos only the limit ends it."""
    ended = f16.alone(generate(1, HELLO, max_tokens=200, ignore_eos=False))
    assert ended.reason == "stop"
    assert ended.ids[-1] in f16_model.eog
    assert len(ended.ids) < 200
    endless = f16.alone(generate(2, HELLO, max_tokens=200))
    assert (len(endless.ids), endless.reason) == (200, "length")
    assert f16_model.eog.isdisjoint(endless.ids)
    assert endless.ids[: len(ended.ids) - 1] == ended.ids[:-1]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_max_tokens(f16: Driver, count: int) -> None:
    outcome = f16.alone(generate(1, PROMPT, max_tokens=count))
    assert (len(outcome.ids), outcome.reason) == (count, "length")


def test_context_is_the_limit_without_another(f16_model: Model) -> None:
    with driver(f16_model, EMBEDDED_MODEL, n_ctx=256) as small:
        outcome = small.alone(generate(1, PROMPT, max_tokens=None))
        assert outcome.started is not None
        assert outcome.started.prompt_tokens + len(outcome.ids) == small.context.n_ctx
        assert outcome.reason == "length"
        same(outcome, small.alone(generate(2, PROMPT, max_tokens=10**6)))


# ------------------------------------------------------------------ refused before it starts


def test_context_overflow(f16: Driver, f16_model: Model) -> None:
    limit = f16.context.n_ctx
    unit = f16_model.tokenize(" a")
    text = " a" * (limit // len(unit) + 5)
    with pytest.raises(InputRefused, match=f"maximum context length is {limit} tokens") as refused:
        f16.input_processor.prepare(generate(1, text))
    assert refused.value.code == CONTEXT_OVERFLOW


def test_largest_prompt_leaves_room_for_one_token(f16: Driver, f16_model: Model) -> None:
    text = " a" * 600
    while len(f16_model.tokenize(text)) >= f16.context.n_ctx:
        text = text[:-2]
    size = len(f16_model.tokenize(text))
    outcome = f16.alone(generate(1, text, max_tokens=None))
    assert len(outcome.ids) == f16.context.n_ctx - size >= 1
    with pytest.raises(InputRefused):
        f16.input_processor.prepare(generate(2, text + " a" * 9))


def test_empty_prompt(f16: Driver) -> None:
    with pytest.raises(InputRefused, match="no token") as refused:
        f16.input_processor.prepare(generate(1, ""))
    assert refused.value.code == BAD_PROMPT


def test_template_that_refuses(f16: Driver) -> None:
    with pytest.raises(InputRefused) as refused:
        f16.input_processor.prepare(generate(1, Chat([{"role": "user", "content": object()}])))
    assert refused.value.code == BAD_PROMPT


# ------------------------------------------------------------------ together


def test_neighbours_do_not_change_an_answer(exact: Driver) -> None:
    requests = [
        generate(n, f"{PROMPT} {word}", sampling=Sampling(n, n % 2), max_tokens=20)
        for n, word in enumerate(["cat", "dog and a bird", "house", "king"], start=1)
    ]
    alone = [exact.alone(request) for request in requests]
    together = exact.run(*requests)
    for a, b in zip(alone, together, strict=True):
        same(a, b)
    assert any(len(step.events) == 4 for step in exact.sent), "one frame for all of a step"


def test_common_prefix_is_computed_once(exact: Driver) -> None:
    first = exact.alone(generate(1, PROMPT + " girl"))
    second = exact.alone(generate(2, PROMPT + " boy"))
    again, other = exact.run(generate(3, PROMPT + " girl")) + exact.run(
        generate(4, PROMPT + " boy")
    )
    same(again, first)
    same(other, second)
    assert first.started is not None
    assert first.started.cached_tokens == 0
    assert other.started is not None
    assert 0 < other.started.cached_tokens < other.started.prompt_tokens
    whole = exact.run(generate(5, PROMPT + " girl"))[0]
    same(whole, first)
    assert whole.started is not None
    # The last token's logits are needed, so it is computed again.
    assert whole.started.cached_tokens == whole.started.prompt_tokens - 1


def test_running_generation_shares_its_prefix(exact: Driver) -> None:
    alone = exact.alone(generate(1, PROMPT, max_tokens=30))
    (first,) = exact.submit(generate(2, PROMPT, max_tokens=30))
    exact.step(5)
    (second,) = exact.run(generate(3, PROMPT, max_tokens=30))
    same(first, alone)
    same(second, alone)
    assert second.started is not None
    assert second.started.cached_tokens == second.started.prompt_tokens - 1


def test_batch_budget_holds_with_long_prompts(f16: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running streams get a token in every step while long prompts are prefilled."""
    decode, sizes = f16.context.decode, []

    def counted(chunks: list[tuple[int, int, list[int], bool]]) -> int:
        sizes.append(sum(len(tokens) for _, _, tokens, _ in chunks))
        return decode(chunks)

    monkeypatch.setattr(f16.context, "decode", counted)
    (stream,) = f16.submit(generate(1, PROMPT, max_tokens=40))
    f16.step(3)
    had = len(stream.ids)
    long = f16.submit(*(generate(n, " a" * 150, max_tokens=2) for n in (2, 3)))
    while not all(outcome.ids for outcome in long):
        f16.step()
        had += 1
        assert len(stream.ids) == had
    f16.run()
    assert max(sizes) == 128


def test_counters(f16: Driver) -> None:
    (outcome,) = f16.run(generate(1, PROMPT, max_tokens=5))
    assert outcome.started is not None
    load = f16.sent[-1].load
    assert load is not None
    assert load.prefill_tokens == outcome.started.prompt_tokens
    assert load.decode_tokens == 5
    assert load.step_sequences == load.steps > 0, "it was alone in each step"
    assert (load.running, load.cells_used) == (0, 0)
    assert [len(snapshot.tokens) for snapshot in f16.store] == [outcome.started.prompt_tokens + 4]
    assert load.host_bytes == f16.store.bytes > 0
    assert all(isinstance(step, Step) for step in f16.sent)


def test_every_position_has_its_own_draw(f16: Driver, f16_model: Model) -> None:
    """The same logits again and again: only the position tells the draws apart."""
    f16.submit(generate(1, PROMPT))
    f16.step()
    hot = Sampling(seed=3, temperature=50.0)
    flat = Sampler(f16_model, hot, ignore_eos=True, window=512)
    try:
        draws = [flat.sample(f16.context, -1, position) for position in range(40)]
        again = [flat.sample(f16.context, -1, position) for position in range(40)]
    finally:
        flat.close()
    assert draws == again
    assert len(set(draws)) > 20
