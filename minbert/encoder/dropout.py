"""Dropout (Srivastava et al. 2014): zero each number with a probability, scale up what is left.

Masks come from torch's default generator, so that seeding it replays them. On a CPU, drawing them
is slow: torch takes 64 random bits for each number. Here 16 bits do.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEVELS = 2**16


def dropout(x: Tensor, rate: float) -> Tensor:
    """Return x ⊙ m, each mᵢ 0 with probability `rate`, else 1 / (1 - rate); x for rate 0."""
    if rate == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, rate)
    return x * keep_mask(x, rate)


def keep_mask(like: Tensor, rate: float) -> Tensor:
    """Draw m, with the shape, type and device of `like`, at `rate` rounded to whole 65,536ths.

    A 64-bit draw is cut into four 16-bit numbers, each uniform over -32768..32767. The rounded rate
    also gives the scale, so that the mean of m is 1.
    """
    dropped = min(round(rate * _LEVELS), _LEVELS - 1)
    draws = torch.empty(-(-like.numel() // 4), dtype=torch.int64, device=like.device)
    numbers = draws.random_(-(2**63), None).view(torch.int16)[: like.numel()]
    kept = (numbers >= dropped - _LEVELS // 2).to(like.dtype)
    return kept.mul_(_LEVELS / (_LEVELS - dropped)).view(like.shape)


class Dropout(nn.Module):
    """Dropout at rate `p` in training mode, and none outside it."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of `x`, which is any."""
        return dropout(x, self.p if self.training else 0.0)
