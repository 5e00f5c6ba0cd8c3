"""Linear layers in 8-bit integers, for passes without gradients on a CPU.

Weights are rounded once, each output's row by a scale of its own; inputs as they come, each token's
vector by a scale of its own (dynamic, symmetric). Products of integers are exact, in 32 bits:
weights stay within ±64, since CPUs without VNNI add products in pairs, in 16 bits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

_INPUTS, _WEIGHTS = 127, 64  # the largest integers of a row


def rounded_rows(x: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """Rows (N, H) as integers (N, H) and scales (N, 1), so that x ≈ integers · scales.

    The largest number of a row becomes ±`largest`; none is off by more than half a scale.
    """
    most = torch.maximum(x.amax(dim=-1, keepdim=True), -x.amin(dim=-1, keepdim=True))
    scales = most / largest
    numbers = x * scales.clamp_min(torch.finfo(x.dtype).tiny).reciprocal()
    return numbers.round_().to(torch.int8), scales


class Int8Linear(nn.Module):
    """`nn.Linear` with both factors rounded to 8 bits."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        numbers, scales = rounded_rows(linear.weight.detach(), _WEIGHTS)
        self.numbers = numbers.T.contiguous()  # (inputs, outputs)
        self.scales = scales.T.contiguous()  # (1, outputs)
        self.bias = linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs). What is not finite stays so, by its scale."""
        numbers, scales = rounded_rows(x.flatten(0, -2), _INPUTS)
        products = torch._int_mm(numbers, self.numbers).to(x.dtype).mul_(self.scales)
        return torch.addcmul(self.bias, products, scales).unflatten(0, x.shape[:-1])


@contextlib.contextmanager
def in_int8(module: nn.Module) -> Iterator[None]:
    """Within the block every linear layer in `module` is an `Int8Linear`."""
    places = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear)
    ]
    try:
        for parent, name, child in places:
            setattr(parent, name, Int8Linear(child))
        yield
    finally:
        for parent, name, child in places:
            setattr(parent, name, child)
