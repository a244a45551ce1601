"""Drafts in the engine: whatever is drafted, an answer stays what it would be without."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config.config import EMBEDDED_MODEL
from tests.support.architectures import WINDOW, write
from tests.support.engine_driver import (
    GREEDY,
    Driver,
    Outcome,
    driver,
    generate,
    loaded,
    with_params,
)
from workers.engine.drafting import Drafting
from workers.engine.sequence import Chunk, EngineSequence
from workers.kv.kv import KVCache
from workers.llama import Model
from workers.planning.geometry import Unified
from workers.protocol import Chat, Generate, Grammar, JsonSchema, Sampling, ToolUse

PROMPT = "Once upon a time there was a little"
HELLO = Chat([{"role": "user", "content": "What is 2+2?"}])
SEEDED = Sampling(seed=1234, temperature=1.0)
PENALISED = Sampling(
    seed=-7, temperature=0.8, top_k=40, min_p=0.01, presence_penalty=0.5, repeat_penalty=1.2
)
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "tags": {"type": "array", "items": {"enum": ["red", "blue"]}, "maxItems": 2},
    },
    "required": ["name", "tags"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CALLS = Chat(HELLO.messages, ToolUse([WEATHER], ["get_weather"], required=True, parallel=True))

Guess = Callable[[EngineSequence], list[int]]


class Guessing(Drafting):
    """Drafts of the test's own, without a question whether they pay."""

    def __init__(self) -> None:
        super().__init__(rows=1)
        self.guess: Guess = lambda stream: []

    def propose(self, chunks: Sequence[Chunk], kv: KVCache, taken: int = 0) -> None:
        left = kv.geometry.total - kv.used - taken - sum(count for _, count in chunks)
        for stream, _ in chunks:
            stream.drafts = []
            if stream.lacks == 1 and not stream.scoring:
                room = left if kv.geometry.unified else kv.geometry.cells - stream.known
                stream.drafts = self.guess(stream)[: max(0, min(stream.room, room))]
                left -= len(stream.drafts)


@contextmanager
def guessing(
    model: Model, path: Path, unified: Unified, n_ctx: int = 2048
) -> Iterator[tuple[Driver, Guessing]]:
    drafting = Guessing()
    with driver(model, path, n_ctx=n_ctx, exact=True, drafting=drafting, unified=unified) as made:
        assert made.kv.geometry.unified == (unified == "on")
        yield made, drafting


@pytest.fixture
def guessed(f32_model: Model, f32_path: Path) -> Iterator[tuple[Driver, Guessing]]:
    with guessing(f32_model, f32_path, "off") as made:
        yield made


@pytest.fixture(params=["off", "on"])
def either(
    request: pytest.FixtureRequest, f32_model: Model, f32_path: Path
) -> Iterator[tuple[Driver, Guessing]]:
    """With cells of their own for each sequence, or of all together."""
    with guessing(f32_model, f32_path, request.param) as made:
        yield made


def same(left: Outcome, right: Outcome) -> None:
    assert (left.ids, left.text, left.reason) == (right.ids, right.text, right.reason)
    assert [one.chosen.id for one in left.logprobs] == [one.chosen.id for one in right.logprobs]
    for one, other in zip(left.logprobs, right.logprobs, strict=True):
        assert one.chosen.logprob == pytest.approx(other.chosen.logprob, abs=1e-4)
        assert [top.id for top in one.top] == [top.id for top in other.top]


def told(answer: Sequence[int], *, wrong_every: int = 0, count: int = 7) -> Guess:
    """The true answer, but for each so many-th token."""

    def guess(stream: EngineSequence) -> list[int]:
        at = stream.sampled
        found = list(answer[at : at + count])
        for index in range(len(found)):
            if wrong_every and (at + index) % wrong_every == wrong_every - 1:
                found[index] = (found[index] + 1) % 256
        return found

    return guess


def schema(request: Generate) -> Generate:
    return with_params(request, constraint=JsonSchema(SCHEMA), ignore_eos=False)


CASES = {
    "greedy": generate(1, PROMPT),
    "seeded": generate(1, PROMPT, sampling=SEEDED),
    "penalised": generate(1, PROMPT, sampling=PENALISED),
    "to the end of the turn": generate(1, HELLO, ignore_eos=False, max_tokens=None),
    "logprobs": generate(1, PROMPT, sampling=SEEDED, logprobs=3),
    "logprobs of the prompt, too": generate(1, PROMPT, logprobs=2, echo=True),
    "json": schema(generate(1, HELLO, sampling=SEEDED, max_tokens=80)),
    "json with logprobs": schema(generate(1, HELLO, sampling=SEEDED, logprobs=1, max_tokens=80)),
    "grammar": with_params(
        generate(1, HELLO, sampling=SEEDED, ignore_eos=False),
        constraint=Grammar('root ::= ("yes " | "no "){3} "end"'),
    ),
    "calls": generate(1, CALLS, sampling=SEEDED, max_tokens=60, ignore_eos=False),
    "at least": with_params(generate(1, HELLO, ignore_eos=False), min_tokens=20),
    "one token": generate(1, PROMPT, max_tokens=1),
    "two tokens": generate(1, PROMPT, max_tokens=2),
}


@pytest.mark.parametrize("request_", CASES.values(), ids=CASES)
@pytest.mark.parametrize("wrong_every", [0, 1, 2, 5])
def test_an_answer_is_the_same_with_drafts(
    guessed: tuple[Driver, Guessing], request_: Generate, wrong_every: int
) -> None:
    made, drafting = guessed
    plain = made.alone(request_)
    drafting.guess = told(plain.ids, wrong_every=wrong_every)
    drafted = made.alone(request_)
    same(drafted, plain)
    if wrong_every == 0 and len(plain.ids) > 10:
        assert drafted.deltas < plain.deltas, "nothing was verified"


def test_stop_strings_end_the_text_right_there(guessed: tuple[Driver, Guessing]) -> None:
    """In the midst of drafts that are all true."""
    made, drafting = guessed
    whole = made.alone(generate(1, PROMPT))
    for first in range(0, len(whole.text) - 4, 3):
        request = generate(2, PROMPT, stop=(whole.text[first : first + 4],))
        drafting.guess = lambda stream: []
        plain = made.alone(request)
        drafting.guess = told(whole.ids)
        same(made.alone(request), plain)


def test_stop_tokens_end_it_in_the_midst(guessed: tuple[Driver, Guessing]) -> None:
    made, drafting = guessed
    whole = made.alone(generate(1, PROMPT))
    for token in whole.ids:
        request = with_params(generate(2, PROMPT), stop_token_ids=(token,))
        drafting.guess = lambda stream: []
        plain = made.alone(request)
        drafting.guess = told(whole.ids)
        same(made.alone(request), plain)


@pytest.mark.parametrize("most", range(1, 12))
def test_no_token_more_than_asked_for(guessed: tuple[Driver, Guessing], most: int) -> None:
    made, drafting = guessed
    whole = made.alone(generate(1, PROMPT))
    drafting.guess = told(whole.ids)
    short = made.alone(generate(2, PROMPT, max_tokens=most))
    assert (short.ids, short.reason) == (whole.ids[:most], "length")


@pytest.mark.parametrize("sampling", [GREEDY, SEEDED], ids=["greedy", "seeded"])
def test_another_worker_goes_on_after_any_step(
    guessed: tuple[Driver, Guessing], sampling: Sampling
) -> None:
    """Tokens that were told when a worker dies may end anywhere among the drafts."""
    made, drafting = guessed
    whole = made.alone(generate(1, PROMPT, sampling=sampling))
    for cut in range(0, len(whole.ids), 3):
        resume = tuple(whole.ids[:cut])
        drafting.guess = told(whole.ids, wrong_every=4)
        rest = made.alone(generate(2, PROMPT, sampling=sampling, resume=resume, attempt=2))
        assert resume + tuple(rest.ids) == tuple(whole.ids)


def test_parked_between_drafts(either: tuple[Driver, Guessing]) -> None:
    made, drafting = either
    request = generate(1, PROMPT, max_tokens=60)
    plain = made.alone(request)
    drafting.guess = told(plain.ids, wrong_every=6)
    (outcome,) = made.submit(request)
    while not outcome.ended:
        made.step(2)
        if not outcome.ended:
            made.park(1)
            made.step()
            made.run_beside(generate(2 + made.engine.reporter.steps, f"2 {PROMPT}", max_tokens=8))
            made.unpark(request)
    same(outcome, plain)


def test_some_of_eight_draft(either: tuple[Driver, Guessing]) -> None:
    """With drafts of different lengths, right and wrong ones, beside streams without any."""
    made, drafting = either
    requests = [
        generate(n, f"{n} {PROMPT}", sampling=SEEDED if n % 2 else GREEDY, max_tokens=20 + n)
        for n in range(1, 9)
    ]
    plain = {request.id: made.alone(request) for request in requests}

    def guess(stream: EngineSequence) -> list[int]:
        number = stream.request.id
        return told(plain[number].ids, wrong_every=number % 4, count=number % 5)(stream)

    drafting.guess = guess
    for request, outcome in zip(requests, made.run(*requests), strict=True):
        same(outcome, plain[request.id])


def test_what_is_kept_of_a_drafted_answer_serves_the_next_turn(
    either: tuple[Driver, Guessing],
) -> None:
    """Rejected drafts are not among the cells that stay."""
    made, drafting = either
    plain = made.alone(generate(1, PROMPT, max_tokens=40))
    drafting.guess = told(plain.ids, wrong_every=3)
    made.run(generate(1, PROMPT, max_tokens=40))
    longer = PROMPT + plain.text + " and"
    drafting.guess = lambda stream: []
    (warm,) = made.run(generate(2, longer))
    assert warm.started is not None
    assert warm.started.cached_tokens > 40
    same(made.alone(generate(3, longer)), warm)


TOKENS = st.integers(0, 255)
LISTS = st.lists(st.lists(TOKENS, max_size=6) | st.integers(1, 8), min_size=1, max_size=12)
REQUESTS = st.sampled_from(["greedy", "seeded", "penalised", "json", "calls", "logprobs"])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(REQUESTS, LISTS)
def test_any_drafts_give_the_same_text(
    guessed: tuple[Driver, Guessing], name: str, lists: list[list[int] | int]
) -> None:
    """Tokens at random, or so many true ones with one that may be wrong."""
    made, drafting = guessed
    drafting.guess = lambda stream: []
    plain = made.alone(CASES[name])

    def guess(stream: EngineSequence) -> list[int]:
        found = lists[stream.sampled % len(lists)]
        if isinstance(found, int):
            return [*plain.ids[stream.sampled : stream.sampled + found], 7]
        return found

    drafting.guess = guess
    same(made.alone(CASES[name]), plain)


@pytest.mark.parametrize("wrong_every", [0, 3])
def test_a_window_keeps_what_rejected_drafts_stood_before(tmp_path: Path, wrong_every: int) -> None:
    """Far beyond the window, whose older cells are taken again by later tokens."""
    path = tmp_path / "gemma3.gguf"
    write("gemma3", EMBEDDED_MODEL, path)
    request = generate(1, PROMPT, max_tokens=3 * WINDOW, sampling=SEEDED)
    with loaded(path) as model, guessing(model, path, "off", n_ctx=8192) as (made, drafting):
        assert model.takes_back
        assert not model.can_cut
        plain = made.alone(request)
        drafting.guess = told(plain.ids, wrong_every=wrong_every, count=15)
        drafted = made.alone(request)
        same(drafted, plain)
        assert drafted.deltas < len(plain.ids)


@pytest.mark.parametrize("name", ["mamba", "jamba"])
def test_a_state_of_the_last_token_has_no_drafts(tmp_path: Path, name: str) -> None:
    path = tmp_path / "state.gguf"
    write(name, EMBEDDED_MODEL, path)
    with loaded(path) as model:
        assert not model.takes_back


# ------------------------------------------------------------------ the real ones


class Steady(Drafting):
    """On a machine where a step takes 10 ms, and each row of it 1 more."""

    def learn(self, chunks: Sequence[Chunk], drafts: int, tokens: int, ms: float) -> None:
        super().learn(chunks, drafts, tokens, 10.0 + len(chunks) * (1 + drafts))


LIST = json.dumps([{"name": f"item{n}", "price": 3 * n} for n in range(6)])


def test_a_copy_is_drafted_from_the_prompt(f32_model: Model, f32_path: Path) -> None:
    """A form that leaves nothing but a copy of the prompt, of which no token is forced."""
    request = with_params(
        generate(1, f"{LIST}\n{LIST}\n", max_tokens=120, logprobs=0, ignore_eos=False),
        constraint=Grammar(f"root ::= {json.dumps(LIST)}"),
    )
    with driver(f32_model, f32_path, n_ctx=768, exact=True) as made:
        plain = made.alone(request)
    with driver(f32_model, f32_path, n_ctx=768, exact=True, drafting=Steady(64)) as made:
        drafted = made.alone(request)
        again = made.alone(request)
        assert made.engine.reporter.decoded == len(drafted.ids) + len(again.ids)
        assert made.engine.reporter.prefilled > 0
    for outcome in (drafted, again):
        same(outcome, plain)
        assert outcome.text == LIST[: len(outcome.text)]
        assert outcome.accepted > 0
        assert outcome.deltas < plain.deltas
