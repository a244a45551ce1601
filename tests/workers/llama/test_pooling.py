"""The scores that a ranking model's values mean."""

import math

import pytest

from workers.llama.pooling import Scale, score


def test_one_class() -> None:
    """Weighed against nothing: the sigmoid, by default."""
    for value in (-3.0, 0.0, 0.25, 8.0):
        expected = 1 / (1 + math.exp(-value))
        assert score([value], Scale.LOGIT, normalize=None) == pytest.approx(expected)
        assert score([value], Scale.LOGIT, normalize=True) == pytest.approx(expected)
        assert score([value], Scale.LOGIT, normalize=False) == value


def test_extremes_stay_apart() -> None:
    values = [-900.0, -600.0, -60.0, 0.0, 30.0]
    scores = [score([value], Scale.LOGIT, normalize=True) or 0.0 for value in values]
    assert all(0 <= found <= 1 for found in scores)
    assert scores[1:] == sorted(set(scores[1:]))
    assert score([900.0], Scale.LOGIT, normalize=True) == 1


def test_several_classes() -> None:
    """The first one's value, or its share."""
    values = [1.0, 2.0, -1.0]
    weights = [math.exp(value) for value in values]
    assert score(values, Scale.LOGITS, normalize=None) == 1.0
    share = score(values, Scale.LOGITS, normalize=True)
    assert share == pytest.approx(weights[0] / sum(weights))


@pytest.mark.parametrize("normalize", [True, False, None])
def test_shares_are_left_alone(normalize: bool | None) -> None:
    assert score([0.75, 0.25], Scale.SHARES, normalize=normalize) == 0.75


@pytest.mark.parametrize("values", [[math.nan], [math.inf], [0.5, math.nan]])
def test_no_numbers(values: list[float]) -> None:
    for scale in Scale:
        assert score(values, scale, normalize=None) is None
