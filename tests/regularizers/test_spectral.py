"""Spectral normalisation: norm 1, the right gradient, and a bound that holds."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from minbert.regularizers import spectral
from minbert.training.optimizer import AdamW

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


@pytest.mark.parametrize("shape", [(5, 768), (384, 1536), (768, 768), (768, 3072)], ids=str)
def test_the_norm_is_one_for_the_heads_of_real_encoders(shape: tuple[int, int]) -> None:
    """The first singular values of a wide random matrix lie within a percent of each other."""
    for seed in (0, 2):
        torch.manual_seed(seed)
        layer = nn.Linear(shape[1], shape[0])
        spectral.normalize([layer])
        assert norm_of(layer.weight) == pytest.approx(1.0, abs=1e-3)


def test_the_norm_stays_one_in_a_relational_layer_at_the_highest_rate() -> None:
    """Steps of 1e-3 in every entry, in directions that change slowly: Adam's, for `pretrain`."""
    torch.manual_seed(1)
    layer = nn.Linear(1536, 384)
    spectral.normalize([layer])
    raw, direction = layer.parametrizations.weight.original, torch.randn(384, 1536)
    for step in range(40):
        direction = 0.95 * direction + 0.05**0.5 * torch.randn(384, 1536)
        with torch.no_grad():
            raw -= 1e-3 * direction.sign()
        spectral.refresh(layer)
        if step % 10 == 9:
            assert norm_of(layer.weight) == pytest.approx(1.0, abs=1e-3)


def test_a_singular_value_that_overtakes_the_first_is_followed() -> None:
    layer = nn.Linear(64, 64)
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor([1.0, 0.99, *torch.linspace(0.5, 0.1, 62)])))
    spectral.normalize([layer])
    for _ in range(30):
        with torch.no_grad():
            layer.parametrizations.weight.original[1, 1] += 1e-3
        spectral.refresh(layer)
        assert norm_of(layer.weight) == pytest.approx(1.0, abs=1e-3)


def test_the_first_direction_is_found_whichever_it_is() -> None:
    """Not where it is at right angles to a fixed start, a vector of ones for example."""
    left, right = torch.tensor([1.0, -1, 0, 0]), torch.tensor([1.0, -1, 0, 0, 0, 0])
    for strong in (torch.outer(left, torch.eye(6)[0]), torch.outer(torch.eye(4)[0], right)):
        layer = nn.Linear(6, 4)
        with torch.no_grad():
            layer.weight.copy_(10 * strong)
            layer.weight[2:, 2:] = 1
        spectral.normalize([layer])
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


@pytest.mark.parametrize(
    "values", [(9.0, 4.0, 1.0), (1.0, 1 - 1e-4, 0.5), (3e-9, 1e-9, 0.0), (2.0,)]
)
def test_the_first_axis_is_the_first_eigenvector(values: tuple[float, ...]) -> None:
    """Also where the second is near, and where all are small."""
    torch.manual_seed(0)
    axes = torch.linalg.qr(torch.randn(len(values), len(values), dtype=torch.float64)).Q
    gram = axes @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ axes.T
    for dtype, bound in ((torch.float64, 1e-9), (torch.float32, 1e-2)):
        found = spectral._first_axis(gram.to(dtype)).double()
        assert abs(float(found @ axes[:, 0])) == pytest.approx(1.0, abs=bound)


def test_equal_eigenvalues_give_a_vector_of_their_span() -> None:
    found = spectral._first_axis(torch.diag(torch.tensor([4.0, 4.0, 1.0])))
    assert float(found.norm()) == pytest.approx(1.0) and abs(float(found[2])) < 1e-6


def test_a_matrix_of_zeros_has_no_axis_and_no_nan() -> None:
    assert torch.equal(spectral._first_axis(torch.zeros(3, 3)), torch.zeros(3))
