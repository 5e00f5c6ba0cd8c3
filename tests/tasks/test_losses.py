"""Losses and divergences against their formulas in float64, and what makes a divergence one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import special
from scipy.stats import entropy
from torch import Tensor

from minbert.tasks import losses
from minbert.tasks.registry import TASKS

Divergence = Callable[[Tensor, Tensor], Tensor]
DIVERGENCES: dict[str, tuple[Divergence, int]] = {
    "softmax of 5": (losses.symmetric_kl, 5),
    "softmax of 2": (losses.symmetric_kl, 2),
    "one logit": (losses.symmetric_kl_bernoulli, 1),
    "regression": (losses.squared_distance, 1),
}
each_divergence = pytest.mark.parametrize(
    ("divergence", "outputs"), DIVERGENCES.values(), ids=DIVERGENCES.keys()
)
each_dtype = pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ],
)
B = 7


def pair(outputs: int, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    first, second = scale * torch.randn(2, B, outputs, dtype=torch.float64)
    return first, second


# ------------------------------------------------------------------------------------- losses


def test_cross_entropy_is_the_formula() -> None:
    logits, labels = pair(5)[0], torch.randint(5, (B,))
    log_p = special.log_softmax(logits.numpy(), axis=-1)
    expected = -np.mean([log_p[i, label] for i, label in enumerate(labels.tolist())])
    assert losses.cross_entropy(logits, labels.double()).item() == pytest.approx(expected, 1e-12)


def test_binary_cross_entropy_is_the_formula() -> None:
    logits, labels = pair(1)[0], torch.randint(2, (B,))
    p = special.expit(logits[:, 0].numpy())
    expected = -np.log(np.where(labels.numpy() == 1, p, 1 - p)).mean()
    found = losses.binary_cross_entropy(logits, labels.float())
    assert found.item() == pytest.approx(expected, 1e-12)


def test_squared_error_is_the_formula() -> None:
    logits, labels = pair(1)[0], 5 * torch.rand(B, dtype=torch.float64)
    expected = np.mean([(s - y) ** 2 for s, y in zip(logits[:, 0], labels, strict=True)])
    assert losses.squared_error(logits, labels).item() == pytest.approx(expected, 1e-12)


@pytest.mark.parametrize("name", TASKS)
@each_dtype
def test_losses_are_at_least_fp32(name: str, given: torch.dtype, expected: torch.dtype) -> None:
    task = TASKS[name]
    logits = torch.randn(B, task.num_outputs).to(given).requires_grad_()
    loss = task.loss(logits, torch.ones(B))
    assert loss.dtype is expected and loss.shape == ()
    exact = task.loss(logits.detach().double(), torch.ones(B))
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)
    loss.backward()
    assert logits.grad is not None and logits.grad.dtype is given


@pytest.mark.parametrize("name", TASKS)
def test_losses_are_means_over_the_batch(name: str) -> None:
    """A batch counts as the mean of its examples, whatever its size."""
    task = TASKS[name]
    logits, labels = torch.randn(B, task.num_outputs, dtype=torch.float64), torch.ones(B)
    alone = [task.loss(logits[i : i + 1], labels[i : i + 1]) for i in range(B)]
    torch.testing.assert_close(task.loss(logits, labels), torch.stack(alone).mean())


@pytest.mark.parametrize("name", TASKS)
def test_loss_gradients(name: str) -> None:
    task = TASKS[name]
    logits = torch.randn(B, task.num_outputs, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: task.loss(x, torch.ones(B)), logits)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("size", [1e2, 1e4, 1e8])
def test_losses_are_finite_for_extreme_logits(name: str, size: float) -> None:
    task = TASKS[name]
    logits = size * torch.randn(B, task.num_outputs).sign()
    logits.requires_grad_()
    loss = task.loss(logits, torch.ones(B))
    loss.backward()
    assert math.isfinite(loss.item()) and logits.grad is not None
    assert logits.grad.isfinite().all()


# -------------------------------------------------------------------------------- divergences


def test_symmetric_kl_is_two_kls() -> None:
    first, second = pair(5)
    p, q = (special.softmax(x.numpy(), axis=-1) for x in (first, second))
    expected = np.mean(entropy(p, q, axis=-1) + entropy(q, p, axis=-1))
    assert losses.symmetric_kl(first, second).item() == pytest.approx(expected, rel=1e-12)


def test_bernoulli_is_two_kls() -> None:
    first, second = pair(1)
    p, q = (
        np.stack([special.expit(x[:, 0].numpy()), special.expit(-x[:, 0].numpy())], axis=-1)
        for x in (first, second)
    )
    expected = np.mean(entropy(p, q, axis=-1) + entropy(q, p, axis=-1))
    assert losses.symmetric_kl_bernoulli(first, second).item() == pytest.approx(expected, rel=1e-12)


def test_one_logit_is_the_softmax_of_two() -> None:
    """A logit s and the pair (0, s) are the same distribution."""
    first, second = pair(1)
    two = [torch.cat([torch.zeros_like(x), x], dim=-1) for x in (first, second)]
    torch.testing.assert_close(
        losses.symmetric_kl_bernoulli(first, second), losses.symmetric_kl(*two), rtol=1e-12, atol=0
    )


def test_squared_distance_is_the_formula() -> None:
    first, second = pair(1)
    expected = np.mean((first - second).numpy() ** 2)
    assert losses.squared_distance(first, second).item() == pytest.approx(expected, rel=1e-12)


@each_divergence
def test_divergences_are_symmetric(divergence: Divergence, outputs: int) -> None:
    first, second = pair(outputs)
    torch.testing.assert_close(
        divergence(first, second), divergence(second, first), rtol=1e-14, atol=0
    )


@each_divergence
def test_divergences_vanish_only_at_equality(divergence: Divergence, outputs: int) -> None:
    first, second = pair(outputs)
    x = first.clone().requires_grad_()
    same = divergence(x, first)
    assert same.item() == 0.0
    assert not torch.autograd.grad(same, x)[0].any()
    assert divergence(first, second).item() > 0
    one_moved = first.clone()
    one_moved[3, 0] += 1e-3
    assert divergence(first, one_moved).item() > 0


@pytest.mark.parametrize("name", ["softmax of 5", "softmax of 2"])
def test_softmax_divergence_ignores_a_common_shift(name: str) -> None:
    divergence, outputs = DIVERGENCES[name]
    first, second = pair(outputs)
    torch.testing.assert_close(divergence(first + 3, second), divergence(first, second))
    assert divergence(first, first + 3).item() < 1e-28


@each_divergence
@pytest.mark.parametrize("size", [1e-7, 1e-6, 1e-5, 1e-4, 1e-3])
def test_divergences_are_never_negative_in_fp32(
    divergence: Divergence, outputs: int, size: float
) -> None:
    """Example by example, at differences near the rounding of fp32."""
    first = 3 * torch.randn(2000, outputs)
    second = first + size * torch.randn(2000, outputs)
    each = [divergence(s[None], t[None]).item() for s, t in zip(first, second, strict=True)]
    assert min(each) >= 0
    assert sum(each) > 0


@each_divergence
def test_small_divergences_keep_their_size_in_fp32(divergence: Divergence, outputs: int) -> None:
    """At the size of a regularizer's noise the value is the float64 one, not rounding noise."""
    first = torch.randn(5000, outputs)
    second = first + 1e-3 * torch.randn(5000, outputs)
    exact = divergence(first.double(), second.double())
    assert divergence(first, second).item() == pytest.approx(exact.item(), rel=1e-3)


@each_divergence
def test_divergences_are_means_over_the_batch(divergence: Divergence, outputs: int) -> None:
    first, second = pair(outputs)
    alone = [divergence(first[i : i + 1], second[i : i + 1]) for i in range(B)]
    torch.testing.assert_close(divergence(first, second), torch.stack(alone).mean())


@each_divergence
def test_divergence_gradients_in_both_branches(divergence: Divergence, outputs: int) -> None:
    first, second = (x.requires_grad_() for x in pair(outputs))
    assert torch.autograd.gradcheck(divergence, (first, second))


@each_divergence
@pytest.mark.parametrize("size", [1e2, 1e4, 1e8])
def test_divergences_are_finite_for_extreme_logits(
    divergence: Divergence, outputs: int, size: float
) -> None:
    first, second = (x.sign().float() * size for x in pair(outputs))
    first.requires_grad_()
    value = divergence(first, second)
    value.backward()
    assert math.isfinite(value.item()) and first.grad is not None
    assert first.grad.isfinite().all()


@each_divergence
@each_dtype
def test_divergences_are_at_least_fp32(
    divergence: Divergence, outputs: int, given: torch.dtype, expected: torch.dtype
) -> None:
    first, second = (x.to(given) for x in pair(outputs))
    value = divergence(first, second)
    assert value.dtype is expected and value.shape == ()
    exact = divergence(first.double(), second.double())
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)
