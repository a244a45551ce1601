"""Long and short sequences without flash attention: computed apart, and no text changes."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.engine_driver import driver
from tests.workers.engine.test_engine_geometry import request
from tests.workers.engine.test_engine_sharing import same
from workers.llama import Model


def test_streams_of_all_lengths(
    f32_model: Model, f32_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long one comes last, and one that is prompt yet runs beside both."""
    with driver(f32_model, f32_path, n_ctx=16384, batch=256, exact=True) as made:
        assert 0 < made.context.pass_cells < 1500, "else nothing here is computed apart"
        short = [request(n, 30 + n, 60) for n in (1, 2, 3)]
        long, late = request(8, 1700, 30), request(9, 900, 30)
        alone = [made.alone(each) for each in (*short, long, late)]
        orders = list[list[int]]()
        decode = made.context.decode

        def recorded(chunks: Sequence[tuple[int, int, Sequence[int], int]]) -> int:
            orders.append([number for number, *_ in chunks])
            return decode(chunks)

        monkeypatch.setattr(made.context, "decode", recorded)
        outcomes = made.submit(*short, long)
        made.step(20)
        outcomes += made.run(late)
        for one, other in zip(alone, outcomes, strict=True):
            same(one, other)
    assert any(a > b for order in orders for a, b in pairwise(order))


def test_flash_attention_reads_no_cells_of_others(f32_model: Model, f32_path: Path) -> None:
    with driver(f32_model, f32_path, n_ctx=4096) as made:
        assert made.context.pass_cells == 0
