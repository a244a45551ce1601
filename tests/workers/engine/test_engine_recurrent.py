"""A model whose memory can be neither cut nor shared: a chat still goes on from its last turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.support.architectures import write
from tests.support.engine_driver import Driver, driver, generate, loaded
from tests.workers.engine.test_engine_sharing import LONG, cached, same
from workers.protocol import Tokens


@pytest.fixture
def mamba(tmp_path: Path) -> Iterator[Driver]:
    path = tmp_path / "mamba.gguf"
    write("mamba", EMBEDDED_MODEL, path)
    with loaded(path) as model, driver(model, path, n_ctx=2048, exact=True) as made:
        assert not model.shares_prefixes
        yield made


def test_a_chat_goes_on(mamba: Driver) -> None:
    """From the state after its last turn, taken over as it is; the text is that without it."""
    ids = mamba.input_processor._model.tokenize(LONG)
    for turn in range(3):
        request = generate(turn, Tokens(ids), max_tokens=12)
        (outcome,) = mamba.run(request)
        assert cached(outcome) == (len(ids) - 4 if turn else 0)
        assert len(mamba.kv._prefixes.kept) == 1
        chat, ids = ids, [*ids, *outcome.ids, 5, 6, 7]
    same(mamba.alone(generate(9, Tokens(chat), max_tokens=12)), outcome)


def test_a_state_is_of_no_use_to_another_text(mamba: Driver) -> None:
    """Nor to the same one again: that would have to be cut."""
    request = generate(1, LONG, max_tokens=12)
    (first,) = mamba.run(request)
    (again,) = mamba.run(request)
    (other,) = mamba.run(generate(2, f"{LONG} and", max_tokens=12))
    assert [cached(outcome) for outcome in (first, again, other)] == [0, 0, 0]
    same(first, again)
