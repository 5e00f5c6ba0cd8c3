"""Spectral normalisation: norm 1, the right gradient, and a bound that holds."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from minbert import spectral
from minbert.optimizer import AdamW

SHAPES = ((5, 16), (1, 48), (16, 64), (1, 1), (3, 2))


def linear(shape: tuple[int, int], seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    layer = nn.Linear(shape[1], shape[0]).double()
    with torch.no_grad():
        layer.weight.normal_()
    return layer


def norm_of(weight: Tensor) -> float:
    return float(torch.linalg.matrix_norm(weight.detach(), ord=2))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_norm_is_one_from_the_start(shape: tuple[int, int]) -> None:
    layer = linear(shape)
    raw = layer.weight.detach().clone()
    spectral.normalize([layer])
    assert norm_of(layer.weight) == pytest.approx(1.0, abs=1e-3)
    torch.testing.assert_close(layer.weight, raw / norm_of(raw), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_norm_stays_one_while_the_weights_move(shape: tuple[int, int]) -> None:
    layer = linear(shape)
    spectral.normalize([layer])
    optimizer = AdamW(layer.parameters(), lr=1e-2)
    source = torch.Generator().manual_seed(1)
    for _ in range(200):
        inputs = torch.randn(8, shape[1], generator=source, dtype=torch.float64)
        (layer(inputs) - 3).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        spectral.refresh(layer)
        assert norm_of(layer.weight) == pytest.approx(1.0, abs=1e-3)


def test_gradient_is_that_of_the_matrix_over_its_norm() -> None:
    """Finite differences of W / σ(W), with σ by singular value decomposition."""
    layer, step = linear((5, 16)), 1e-6
    raw = layer.weight.detach().clone()
    spectral.normalize([layer])
    (own,) = layer.parametrizations.weight
    own.follow(raw, 2000)
    source = torch.Generator().manual_seed(2)
    inputs = torch.randn(8, 16, generator=source, dtype=torch.float64)
    towards = torch.randn(raw.shape, generator=source, dtype=torch.float64)

    def loss(weight: Tensor) -> Tensor:
        return (inputs @ (weight / torch.linalg.matrix_norm(weight, ord=2)).T).square().mean()

    (layer(inputs) - layer.bias).square().mean().backward()
    slope = float((layer.parametrizations.weight.original.grad * towards).sum())
    difference = (loss(raw + step * towards) - loss(raw - step * towards)) / (2 * step)
    assert slope == pytest.approx(float(difference), rel=1e-5)


def test_the_bound_holds_for_a_chain() -> None:
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Linear(12, 7), nn.LeakyReLU(), nn.Linear(7, 3)).double()
    free = spectral.lipschitz_bound(chain)
    normalized = copy.deepcopy(chain)
    spectral.normalize(normalized)
    assert spectral.lipschitz_bound(normalized) == pytest.approx(1.0, abs=2e-3)
    for model, bound in ((chain, free), (normalized, 1.002)):
        x, y = torch.randn(2, 500, 12, dtype=torch.float64)
        ratio = (model(x) - model(y)).norm(dim=1) / (x - y).norm(dim=1)
        assert float(ratio.max().detach()) <= bound


def test_the_bound_is_the_product_of_the_norms() -> None:
    first, second = linear((4, 6)), linear((2, 4), seed=1)
    expected = norm_of(first.weight) * norm_of(second.weight)
    assert spectral.lipschitz_bound([first, second]) == pytest.approx(expected, rel=1e-9)


def test_passes_leave_the_vectors_where_they_are() -> None:
    layer = linear((5, 16)).float()
    spectral.normalize([layer])
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    layer.train()
    layer(torch.randn(3, 16))
    assert all(torch.equal(before[name], tensor) for name, tensor in layer.state_dict().items())


def test_autocast_does_not_round_the_norm() -> None:
    layer = linear((5, 16)).float()
    spectral.normalize([layer])
    with torch.autocast("cpu", torch.bfloat16):
        weight = layer.weight
    assert weight.dtype == torch.float32
    assert norm_of(weight) == pytest.approx(1.0, abs=1e-3)


def test_a_state_goes_back_into_a_layer_made_anew() -> None:
    layer, other = linear((5, 16)), linear((5, 16), seed=3)
    for one in (layer, other):
        spectral.normalize([one])
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.weight, layer.weight)
