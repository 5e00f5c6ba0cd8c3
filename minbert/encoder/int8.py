"""Linear layers in 8-bit integers, for passes without gradients on a CPU.

Weights are rounded once, with a scale for each output; inputs are rounded in every pass, with a
scale for each token (dynamic, symmetric quantization). Products of integers are added exactly, in
32 bits. Weights stay within ±64, since CPUs without VNNI first add pairs of products in 16 bits.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

_INPUTS, _WEIGHTS = 127, 64  # the largest integer in a row of each


def rounded_rows(x: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """Round rows (N, H) to integers (N, H) and scales (N, 1), so that x ≈ integers · scales.

    The largest number of a row becomes ±`largest`. Errors are at most half a scale.
    """
    most = torch.maximum(x.amax(dim=-1, keepdim=True), -x.amin(dim=-1, keepdim=True))
    scales = most / largest
    numbers = x * scales.clamp_min(torch.finfo(x.dtype).tiny).reciprocal()
    return numbers.round_().to(torch.int8), scales


class Int8Linear(nn.Module):
    """A copy of an `nn.Linear` that rounds weights and inputs to 8 bits."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        numbers, scales = rounded_rows(linear.weight.detach(), _WEIGHTS)
        self.numbers = numbers.T.contiguous()  # (inputs, outputs)
        self.scales = scales.T.contiguous()  # (1, outputs)
        self.bias = linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (..., inputs) to (..., outputs); the scale keeps non-finite rows non-finite."""
        numbers, scales = rounded_rows(x.flatten(0, -2), _INPUTS)
        products = torch._int_mm(numbers, self.numbers).to(x.dtype).mul_(self.scales)
        return torch.addcmul(self.bias, products, scales).unflatten(0, x.shape[:-1])


@contextlib.contextmanager
def in_int8(module: nn.Module) -> Iterator[None]:
    """Make every linear layer in `module` an `Int8Linear` within the block."""
    layers = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear)
    ]
    try:
        for parent, name, child in layers:
            setattr(parent, name, Int8Linear(child))
        yield
    finally:
        for parent, name, child in layers:
            setattr(parent, name, child)
