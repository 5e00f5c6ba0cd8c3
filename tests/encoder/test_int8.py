"""8-bit linear layers: how far off they may be, what stays exact, what is put back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from minbert.encoder.int8 import Int8Linear, in_int8, rounded_rows


def layer(inputs: int, outputs: int, scale: float = 1.0) -> nn.Linear:
    torch.manual_seed(0)
    made = nn.Linear(inputs, outputs)
    nn.init.normal_(made.weight, std=scale)
    return made


@pytest.mark.parametrize("shape", [(1, 16), (7, 24), (33, 128)], ids=str)
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("largest", [64, 127])
def test_rows_are_off_by_half_a_scale_at_most(
    shape: tuple[int, int], size: float, largest: int
) -> None:
    torch.manual_seed(1)
    x = torch.randn(shape) * size * torch.logspace(-2, 2, shape[0])[:, None]
    numbers, scales = rounded_rows(x, largest)
    assert numbers.dtype == torch.int8 and numbers.abs().amax(dim=1).eq(largest).all()
    error = (numbers.double() * scales.double() - x.double()).abs()
    assert (error <= 0.5001 * scales).all()


@pytest.mark.parametrize("shape", [(5, 24), (3, 9, 24)], ids=str)
def test_outputs_are_off_by_what_rounding_both_factors_can_do(shape: tuple[int, ...]) -> None:
    """|Δ| ≤ Σ |x| e + |w| d + d e, with d and e half the scales of a token and of an output."""
    linear = layer(24, 40, scale=0.3)
    x = torch.randn(shape)
    found, exact = (
        Int8Linear(linear)(x),
        nn.functional.linear(x.double(), linear.weight.double(), linear.bias.double()),
    )
    d = x.abs().amax(dim=-1, keepdim=True) / 254
    e = linear.weight.abs().amax(dim=1) / 128
    sums = x.abs().sum(dim=-1, keepdim=True), linear.weight.abs().sum(dim=1)
    bound = sums[0] * e + sums[1] * d + 24 * d * e
    error = (found - exact).abs()
    assert (error <= 1.001 * bound + 1e-5).all()
    assert error.max() > 0 and error.pow(2).mean().sqrt() < 0.2 * bound.mean()


def test_whole_numbers_are_exact() -> None:
    linear = layer(32, 16)
    generator = torch.Generator().manual_seed(0)
    whole = torch.randint(-127, 128, (20, 32), generator=generator).float()
    weight = torch.randint(-64, 65, (16, 32), generator=generator).float()
    whole[:, 0], weight[:, 0] = 127, -64
    whole[0], weight[0] = 127, 64  # the largest sum that can be
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(torch.arange(16.0))
    torch.testing.assert_close(Int8Linear(linear)(whole), linear(whole), rtol=1e-6, atol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(value: float) -> None:
    x = torch.randn(4, 16)
    x[1, 3] = value
    found = Int8Linear(layer(16, 8))(x)
    assert not found[1].isfinite().any()
    assert found[[0, 2, 3]].isfinite().all()


def test_a_row_of_zeros_gives_the_bias() -> None:
    linear = layer(16, 8)
    assert torch.equal(Int8Linear(linear)(torch.zeros(2, 16))[1], linear.bias)


class Broken(Exception):
    pass


def test_the_layers_come_back_even_after_a_fault() -> None:
    model = nn.Sequential(layer(16, 8), nn.Sequential(nn.GELU(), layer(8, 8)))
    before = list(model.modules())

    def inside(x: Tensor) -> Tensor:
        assert sum(isinstance(module, Int8Linear) for module in model.modules()) == 2
        assert not any(isinstance(module, nn.Linear) for module in model.modules())
        return model(x)

    with torch.no_grad(), in_int8(model):
        inside(torch.randn(3, 16))
    assert list(model.modules()) == before
    with pytest.raises(Broken), in_int8(model):
        raise Broken
    assert list(model.modules()) == before
