"""A model whose memory can be neither cut nor shared: a chat still goes on from its last turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.support.architectures import write
from tests.support.engine_driver import Driver, driver, generate, loaded
from tests.workers.engine.test_engine_sharing import LONG, cached, same, size
from workers.protocol import Tokens


@pytest.fixture
def mamba(tmp_path: Path) -> Iterator[Driver]:
    path = tmp_path / "mamba.gguf"
    write("mamba", EMBEDDED_MODEL, path)
    with loaded(path) as model, driver(model, path, n_ctx=2048, exact=True) as made:
        assert not model.can_cut
        yield made


def test_a_chat_goes_on(mamba: Driver) -> None:
    """From the state after its last turn; the text is that without it."""
    ids = mamba.input_processor._model.tokenize(LONG)
    for turn in range(3):
        request = generate(turn, Tokens(ids), max_tokens=12)
        (outcome,) = mamba.run(request)
        assert cached(outcome) == (len(ids) - 4 if turn else 0)
        chat, ids = ids, [*ids, *outcome.ids, 5, 6, 7]
    same(mamba.alone(generate(9, Tokens(chat), max_tokens=12)), outcome)


def test_the_same_prompt_again_comes_from_before_its_last_token(mamba: Driver) -> None:
    request = generate(1, LONG, max_tokens=12)
    (first,) = mamba.run(request)
    (again,) = mamba.run(request)
    assert (cached(first), cached(again)) == (0, size(mamba, LONG) - 1)
    same(first, again)


def test_another_end_is_computed_from_the_last_mark_before_it(mamba: Driver) -> None:
    """A text without messages has some at growing distances from its end."""
    ids = mamba.input_processor._model.tokenize(LONG)
    other = [*ids[:-30], *range(300, 330)]
    alone = mamba.alone(generate(1, Tokens(other), max_tokens=12))
    mamba.run(generate(2, Tokens(ids), max_tokens=12))
    (outcome,) = mamba.run(generate(3, Tokens(other), max_tokens=12))
    assert cached(outcome) == len(ids) - 64
    same(outcome, alone)
