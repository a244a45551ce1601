"""Chats with models whose memory can't be cut: what clients do with a chat is cached all the same.

A sliding window, a hybrid and a recurrent model. In each case at least 80 % of a prompt of about
1,200 tokens comes from the cache, and the text is the one without it.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.support.architectures import write
from tests.support.engine_driver import Driver, Outcome, driver, generate, loaded
from tests.workers.engine.test_engine_sharing import cached, same
from workers.protocol import Generate, Sampling, Tokens

START, END, LINE = 1, 2, 300
"""The control tokens of the embedded model, whose vocabulary these have, and any other."""
ANSWER = 24
SAMPLED = Sampling(5, 1.0)


@pytest.fixture(scope="module", params=["gemma3", "jamba", "mamba"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Driver]:
    path: Path = tmp_path_factory.mktemp(request.param) / "model.gguf"
    write(request.param, EMBEDDED_MODEL, path)
    with (
        loaded(path) as model,
        driver(model, path, n_ctx=8192, batch=512, exact=True, cache_bytes=256 << 20) as made,
    ):
        assert not model.can_cut
        assert not made.kv.geometry.unified
        yield made


@pytest.fixture
def made(opened: Driver) -> Driver:
    opened.empty()
    return opened


def words(seed: int, count: int) -> list[int]:
    found: list[int] = np.random.default_rng(seed).integers(301, 1500, count).tolist()
    return found


def message(role: int, text: list[int]) -> list[int]:
    return [START, role, LINE, *text, END, LINE]


SYSTEM, USER, ASSISTANT = 310, 311, 312
GENERATE = [START, ASSISTANT, LINE]
OPENING = message(SYSTEM, words(0, 500))


def chat(seed: int, *, last: int = 40) -> list[int]:
    """Two turns and a third question, about 1,200 tokens."""
    sizes = ((USER, 250), (ASSISTANT, 120), (USER, 180), (ASSISTANT, 100), (USER, last))
    turns = [message(role, words(seed * 10 + n, size)) for n, (role, size) in enumerate(sizes)]
    return [*OPENING, *chain.from_iterable(turns), *GENERATE]


def ask(
    id_: int, prompt: list[int], sampling: Sampling = SAMPLED, max_tokens: int = ANSWER
) -> Generate:
    return generate(id_, Tokens(prompt), sampling=sampling, max_tokens=max_tokens)


def share(outcome: Outcome) -> float:
    assert outcome.started is not None
    return cached(outcome) / outcome.started.prompt_tokens


def from_the_cache(made: Driver, request: Generate) -> Outcome:
    """Its outcome, after those that were run before: 80 % cached, and the text of an empty one."""
    restored = made.kv.restored
    (outcome,) = made.run_beside(request)
    assert made.kv.restored - restored >= cached(outcome)
    assert share(outcome) >= 0.8, f"{cached(outcome)} cached"
    return outcome


def all_alone(made: Driver, requests: list[Generate]) -> list[Outcome]:
    """The outcomes with nothing cached; and nothing is, afterwards."""
    return [made.alone(request) for request in requests]


def test_the_same_prompt_again(made: Driver) -> None:
    """Asked twice, and an answer that is made anew with another seed."""
    prompt = chat(1)
    alone = all_alone(made, [ask(1, prompt), ask(2, prompt, Sampling(6, 1.0))])
    (first,) = made.run(ask(3, prompt))
    again = from_the_cache(made, ask(4, prompt))
    regenerated = from_the_cache(made, ask(5, prompt, Sampling(6, 1.0)))
    assert cached(again) == cached(regenerated) == len(prompt) - 1
    for found, expected in zip((first, again, regenerated), (alone[0], *alone), strict=True):
        same(found, expected)


def test_an_edited_last_turn(made: Driver) -> None:
    """As often as the client likes, and back to the first one."""
    prompt = chat(1)
    edited = [[*prompt[:-40], *words(70 + n, 30), END, LINE, *GENERATE] for n in range(3)]
    alone = all_alone(made, [ask(n, each) for n, each in enumerate([*edited, prompt])])
    made.run(ask(9, prompt))
    for expected, each in zip(alone, [*edited, prompt], strict=True):
        same(from_the_cache(made, ask(9, each)), expected)


def test_a_next_turn(made: Driver) -> None:
    first = chat(2)
    (answer,) = made.run(ask(1, first))
    turn = [*first, *answer.ids, END, LINE, *message(USER, words(80, 60)), *GENERATE]
    found = from_the_cache(made, ask(2, turn))
    assert cached(found) >= len(first)
    again = from_the_cache(made, ask(3, turn))
    made.empty()
    for outcome in (found, again):
        same(outcome, all_alone(made, [ask(4, turn)])[0])


def test_thoughts_that_the_template_drops(made: Driver) -> None:
    """The next prompt holds a part of the answer that was given, and not its beginning."""
    first = chat(3)
    (answer,) = made.run(ask(1, first, max_tokens=120))
    said = answer.ids[100:]
    turn = [*first, *said, END, LINE, *message(USER, words(81, 60)), *GENERATE]
    found = from_the_cache(made, ask(2, turn, max_tokens=60))
    after = [*turn, *found.ids[50:], END, LINE, *message(USER, words(82, 60)), *GENERATE]
    later = from_the_cache(made, ask(3, after))
    assert cached(later) >= len(turn) - 1
    alone = all_alone(made, [ask(4, turn, max_tokens=60), ask(5, after)])
    same(found, alone[0])
    same(later, alone[1])


def test_two_chats_in_turns(made: Driver) -> None:
    """One after the other through the same slot, three turns each."""
    chats, turns = {seed: chat(seed) for seed in (4, 5)}, list[tuple[list[int], Outcome]]()
    for turn in range(3):
        for seed, prompt in chats.items():
            request = ask(10 * seed + turn, prompt)
            if turn:
                outcome = from_the_cache(made, request)
                assert cached(outcome) >= len(turns[2 * turn - 2 + seed - 4][0]) - 1
            else:
                (outcome,) = made.run(request)
                # Of the second chat the agents' common prompt is there.
                assert cached(outcome) == (len(OPENING) if seed == 5 and turns else 0)
            turns.append((prompt, outcome))
            asked = message(USER, words(90 + 2 * turn + seed, 50))
            chats[seed] = [*prompt, *outcome.ids, END, LINE, *asked, *GENERATE]
    for n, (prompt, outcome) in enumerate(turns):
        same(made.alone(ask(n, prompt)), outcome)


def test_the_opening_outlives_long_chats(made: Driver) -> None:
    """Of a chat of many turns the state after the common prompt is still there."""
    prompt = chat(6)
    for turn in range(6):
        (outcome,) = made.run(ask(turn, prompt, max_tokens=8))
        asked = message(USER, words(120 + turn, 20))
        prompt = [*prompt, *outcome.ids, END, LINE, *asked, *GENERATE]
    (other,) = made.run(ask(9, [*OPENING, *message(USER, words(130, 40)), *GENERATE]))
    assert cached(other) == len(OPENING)
    assert share(other) >= 0.8


def test_after_parking(made: Driver) -> None:
    """Of a generation that was parked, twice, another is the same prompt, and one its end."""
    prompt = chat(7)
    request, edited = ask(1, prompt), [*prompt[:-40], *words(140, 30), END, LINE, *GENERATE]
    alone = all_alone(made, [request, ask(2, edited)])
    (outcome,) = made.submit(request)
    for size in (6, 12):
        while len(outcome.ids) < size:
            made.step()
        made.park(1)
        made.step()
        assert made.kv.used == 0
        same(from_the_cache(made, ask(30 + size, edited)), alone[1])
        computed = made.engine.reporter.prefilled
        made.unpark(request)
        made.step(2)
        assert made.engine.reporter.prefilled == computed, "its prompt was computed again"
    made.run()
    assert (outcome.ids, outcome.text) == (alone[0].ids, alone[0].text)
    same(from_the_cache(made, ask(4, prompt)), alone[0])
    same(from_the_cache(made, ask(5, edited)), alone[1])


def test_several_choices_together(made: Driver) -> None:
    """The prompt is computed once, but for the few tokens that are not worth a wait."""
    prompt = chat(8)
    requests = [ask(n, prompt, Sampling(n, 1.0)) for n in range(4)]
    alone = all_alone(made, requests)
    before = made.engine.reporter.prefilled
    found = made.run(*requests)
    assert made.engine.reporter.prefilled - before == len(prompt) + 3 * len(GENERATE)
    assert [share(outcome) >= 0.8 for outcome in found] == [False, True, True, True]
    for a, b in zip(alone, found, strict=True):
        same(a, b)
    assert len({outcome.text for outcome in found}) == 4
