"""Dropout: torch's by its rate, its scale, its gradient, and masks that a seed replays."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from minbert.encoder.dropout import Dropout, dropout, keep_mask

NUMBERS = 2**20


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.999])
def test_numbers_are_dropped_at_the_rate_and_the_rest_scaled(rate: float) -> None:
    mask = keep_mask(torch.empty(NUMBERS), rate)
    dropped = int((mask == 0).sum())
    assert stats.binomtest(dropped, NUMBERS, rate).pvalue > 1e-3
    (scale,) = set(mask[mask > 0].tolist())
    assert scale == pytest.approx(1 / (1 - rate), rel=1e-2 if rate > 0.9 else 1e-4)


def test_the_mean_is_kept() -> None:
    """The scale is that of the rate as rounded, also where rounding matters."""
    rate = 1.4 / 2**16
    mask = keep_mask(torch.empty(4, dtype=torch.float64), rate)
    assert mask.max() * (1 - 1 / 2**16) == pytest.approx(1, abs=1e-12)


def test_the_four_numbers_of_a_draw_are_independent() -> None:
    """Of each pair of neighbours, within one 64-bit draw or not, all four outcomes are as due."""
    dropped = (keep_mask(torch.empty(NUMBERS // 4, 4), 0.5) == 0).long()
    for first in range(4):
        for second in range(first):
            outcomes = torch.bincount(2 * dropped[:, first] + dropped[:, second], minlength=4)
            assert stats.chisquare(outcomes.numpy()).pvalue > 1e-4


@pytest.mark.parametrize("shape", [(0,), (1,), (5,), (3, 7), (2, 3, 5, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_shape_and_number_type(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randn(shape, dtype=dtype)
    out = dropout(x, 0.3)
    assert out.shape == x.shape and out.dtype == dtype


def test_the_gradient_goes_through_the_same_mask() -> None:
    x = torch.ones(1000, requires_grad=True)
    out = dropout(x, 0.3)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())
    assert 0 < int((out == 0).sum()) < 1000


def test_a_seed_replays_the_mask() -> None:
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return dropout(torch.ones(100), 0.5)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_outside_training_nothing_is_dropped_and_nothing_drawn() -> None:
    x, layer = torch.ones(10), Dropout(0.5).eval()
    before = torch.get_rng_state()
    assert layer(x) is x
    assert Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), before)
