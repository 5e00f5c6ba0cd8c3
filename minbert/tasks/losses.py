"""Task losses and the divergences that regularizers measure, each a mean over a batch's examples.

A divergence d(s, t) compares two sets of logits of the same examples. It is symmetric, 0 where
they agree, and differentiable in both; which one fits is a property of the task.
"""

import torch.nn.functional as F
from torch import Tensor

from minbert.support.device import at_least_fp32


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross-entropy. `logits` (B, k), `labels` (B,) class numbers."""
    return F.cross_entropy(at_least_fp32(logits), labels.long())


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Logistic loss of one logit. `logits` (B, 1), `labels` (B,) of 0 and 1."""
    logits = at_least_fp32(logits).squeeze(-1)
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error on the label's scale. `logits` (B, 1), `labels` (B,)."""
    logits = at_least_fp32(logits).squeeze(-1)
    return F.mse_loss(logits, labels.to(logits.dtype))


def symmetric_kl(first: Tensor, second: Tensor) -> Tensor:
    """KL(p‖q) + KL(q‖p) of two softmax distributions over k > 1 logits (B, k).

    Computed as Σⱼ (pⱼ - qⱼ)(log pⱼ - log qⱼ), no term of which is negative. KL(p‖q) alone is a
    sum of terms of both signs, and near p = q in fp32 two of them, each rounded, need not add up
    to something positive.
    """
    log_p = at_least_fp32(first).log_softmax(dim=-1)
    log_q = at_least_fp32(second).log_softmax(dim=-1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=-1).mean()


def symmetric_kl_bernoulli(first: Tensor, second: Tensor) -> Tensor:
    """`symmetric_kl` of two Bernoullis given by one logit each, (B, 1): (σ(s) - σ(t))(s - t)."""
    s, t = at_least_fp32(first), at_least_fp32(second)
    return ((s.sigmoid() - t.sigmoid()) * (s - t)).mean()


def squared_distance(first: Tensor, second: Tensor) -> Tensor:
    """Squared difference of two predictions on the label's scale, (B, 1).

    KL is undefined for a regression; this is the choice of SMART (section 2.1).
    """
    return (at_least_fp32(first) - at_least_fp32(second)).square().mean()
