"""What is wrong with the steps and divergences of public implementations, each as a property."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from minbert.regularizers import published
from minbert.regularizers.smart.adversarial import projected
from minbert.tasks import losses

SOFTMAXES = (
    published.odds_divergence,
    published.mean_kl,
    published.summed_half_kl,
    published.mean_half_kl,
    published.two_kls,
)


def logits(outputs: int, rows: int = 6) -> tuple[Tensor, Tensor]:
    """Logits of two branches, float64, that take gradients."""
    source = torch.Generator().manual_seed(4)
    first = torch.randn(rows, outputs, generator=source, dtype=torch.float64)
    second = first + 1e-3 * torch.randn(rows, outputs, generator=source, dtype=torch.float64)
    return first.requires_grad_(), second.requires_grad_()


def slopes(value: Tensor, of: tuple[Tensor, Tensor]) -> Tensor:
    found = torch.autograd.grad(value, of, allow_unused=True, materialize_grads=True)
    return torch.stack(found)


@pytest.mark.parametrize("divergence", SOFTMAXES)
def test_softmaxes_over_one_logit_are_always_equal(divergence) -> None:
    s, t = logits(1)
    value = divergence(s, t + 3.0)
    assert float(value.detach()) == 0
    assert not slopes(value, (s, t)).any()


@pytest.mark.parametrize("divergence", [published.mean_half_kl, published.summed_half_kl])
def test_detached_targets_halve_the_gradient(divergence) -> None:
    s, t = logits(5)
    scale = 1 if divergence is published.mean_half_kl else len(s)
    half = slopes(divergence(s, t), (s, t)) / scale
    whole = slopes(losses.symmetric_kl(s, t), (s, t))
    ratio = float((half * whole).sum() / whole.square().sum())
    assert ratio == pytest.approx(0.5, rel=1e-2)


def test_a_sum_grows_with_the_batch() -> None:
    s, t = logits(5)
    once, twice = (
        published.summed_half_kl(s.repeat(n, 1), t.repeat(n, 1)).detach() for n in (1, 2)
    )
    assert float(twice) == pytest.approx(2 * float(once), rel=1e-12)


def test_the_square_of_all_pairs_penalises_that_predictions_differ_at_all() -> None:
    """mean (sᵢ - tⱼ)² = var s + var t + (mean s - mean t)²."""
    s, t = logits(1)
    assert float(losses.squared_distance(s, s).detach()) == 0
    spread = s.var(correction=0) + t.var(correction=0) + (s.mean() - t.mean()).square()
    value = published.square_of_all_pairs(s, t).detach()
    assert float(value) == pytest.approx(float(spread.detach()), rel=1e-9)
    assert float(value) > 1e5 * float(losses.squared_distance(s, t).detach())


def test_the_divergences_are_torchs() -> None:
    s, t = logits(5)
    log_p, log_q = s.log_softmax(-1), t.log_softmax(-1)
    one = F.kl_div(log_p, log_q, log_target=True, reduction="batchmean")
    other = F.kl_div(log_q, log_p, log_target=True, reduction="batchmean")
    for ours, expected in (
        (published.mean_kl, one),
        (published.two_kls, one + other),
        (published.mean_half_kl, one + other),
    ):
        torch.testing.assert_close(ours(s, t), expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(published.two_kls(s, t), losses.symmetric_kl(s, t))


def test_two_kls_in_fp32_come_out_negative_where_one_sum_does_not() -> None:
    source = torch.Generator().manual_seed(4)
    s = torch.randn(2000, 1, 5, generator=source)
    t = s + 1e-5 * torch.randn(s.shape, generator=source)
    two = [float(published.two_kls(a, b)) for a, b in zip(s, t, strict=True)]
    one = [float(losses.symmetric_kl(a, b)) for a, b in zip(s, t, strict=True)]
    assert sum(value < 0 for value in two) > 200
    assert min(one) >= 0


@pytest.mark.parametrize("gradient", [0.0, 1.0])
def test_a_renormalized_step_has_radius_one_whatever_epsilon(gradient: float) -> None:
    delta = 1e-5 * torch.randn(6, 7, 16, dtype=torch.float64)
    ascent = gradient * torch.randn(6, 7, 16, dtype=torch.float64)
    moved = published.renormalized(delta, ascent, 1e-3, 1e-5, 2)
    largest = moved.abs().amax(dim=-1)
    assert 0.9 < float(largest.min()) <= float(largest.max()) < 1
    assert float(projected(delta, ascent, 1e-3, 1e-5, 2).abs().max()) <= 1e-5
