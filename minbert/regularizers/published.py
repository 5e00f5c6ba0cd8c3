"""Steps and divergences as public implementations have them, errors included: for `--compat` only.

s and t are logits (B, k) of the perturbed and the clean branch, p and q their softmax
distributions, sg(·) a value whose gradient is not taken. A softmax over one logit is 1, so that
over one output every divergence between softmaxes is exactly 0.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from minbert.regularizers.base import Divergence
from minbert.support.device import at_least_fp32
from minbert.tasks.task import Task

Chosen = Callable[[Task], Divergence]  # which divergence a task gets

_DIVISOR = 1e-6  # added to what a step is divided by, and to probabilities in `odds_divergence`


def by_kind(classes: Divergence, regression: Divergence) -> Chosen:
    """A choice of one divergence for class labels, another for a regression."""
    return lambda task: regression if task.top is not None else classes


def always(divergence: Divergence) -> Chosen:
    """A choice of one divergence for every task."""
    return lambda _task: divergence


def renormalized(
    delta: Tensor, gradient: Tensor, eta: float, _epsilon: float, _views: int
) -> Tensor:
    """(δ + η g) / (‖δ + η g‖_∞ + 1e-6), each token's own: a perturbation of radius ~1, not ε.

    Of mt-dnn and smart-pytorch.
    """
    moved = delta + eta * gradient
    return moved / (moved.abs().amax(dim=-1, keepdim=True) + _DIVISOR)


def odds_divergence(s: Tensor, t: Tensor) -> Tensor:
    """Σ_ij 2 pᵢⱼ sg(logit pᵢⱼ - logit qᵢⱼ), summed over the batch: what mt-dnn's ascent climbs."""
    p, q = (at_least_fp32(logits).softmax(dim=-1) for logits in (s, t))
    odds_p, odds_q = (-(1 / (each + _DIVISOR) - 1 + _DIVISOR).log().detach() for each in (p, q))
    return 2 * (p * (odds_p - odds_q)).sum()


def summed_square(s: Tensor, t: Tensor) -> Tensor:
    """Σᵢ (sᵢ - tᵢ)²: mt-dnn's ascent for a regression."""
    return (at_least_fp32(s) - at_least_fp32(t)).square().sum()


def square_of_all_pairs(s: Tensor, t: Tensor) -> Tensor:
    """The mean of (sᵢ - tⱼ)² over all pairs i, j of examples: mt-dnn's penalty for a regression.

    There (B,) is taken from (B, 1), which broadcasts; 0 only where all predictions are equal.
    """
    return (at_least_fp32(s) - at_least_fp32(t).T).square().mean()


def mean_kl(s: Tensor, t: Tensor) -> Tensor:
    """KL(q‖p), one-sided, a mean over the batch: what smart-pytorch's ascent climbs."""
    return _summed_kl(t, s) / len(s)


def summed_half_kl(s: Tensor, t: Tensor) -> Tensor:
    """Σᵢ KL(sg(q)‖p) + KL(sg(p)‖q), not divided by B; with half the gradient of the symmetric KL.

    smart-pytorch's penalty.
    """
    return _summed_kl(t.detach(), s) + _summed_kl(s.detach(), t)


def mean_half_kl(s: Tensor, t: Tensor) -> Tensor:
    """`summed_half_kl` divided by B: mt-dnn's penalty."""
    return summed_half_kl(s, t) / len(s)


def two_kls(s: Tensor, t: Tensor) -> Tensor:
    """KL(q‖p) + KL(p‖q) as two sums, over B; fairseq's R3F. In fp32 it may come out negative."""
    return (_summed_kl(t, s) + _summed_kl(s, t)) / len(s)


def _summed_kl(target: Tensor, logits: Tensor) -> Tensor:
    """Σᵢ KL(softmax(target)ᵢ ‖ softmax(logits)ᵢ).

    q comes from a softmax and log p from a log_softmax, as there: rounded apart, which is what
    makes small ones negative.
    """
    q, log_p = at_least_fp32(target).softmax(dim=-1), at_least_fp32(logits).log_softmax(dim=-1)
    return F.kl_div(log_p, q, reduction="sum")
