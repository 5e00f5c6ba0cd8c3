"""Heads against their formulas in numpy, their sizes, and vectors of length zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from minbert.tasks.heads import (
    CosineHead,
    DifferenceHead,
    RelationalLayer,
    SquashedHead,
    VectorHead,
    cosine,
)

B, H = 6, 5


def vectors(views: int) -> Tensor:
    return torch.randn(views, B, H, dtype=torch.float64)


def linear(layer: nn.Module, features: NDArray[np.float64]) -> NDArray[np.float64]:
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    return features @ weight.T + bias


def close(found: Tensor, expected: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("outputs", [1, 5])
def test_vector_head(outputs: int) -> None:
    head, pooled = VectorHead(H, outputs).double(), vectors(1)
    assert head(pooled).shape == (B, outputs)
    close(head(pooled), linear(head.output, pooled[0].numpy()))


def test_vector_head_starts_at_its_center() -> None:
    head = VectorHead(H, 1, center=2.5)
    assert head(torch.zeros(1, B, H)).tolist() == [[2.5]] * B
    assert VectorHead(H, 5)(torch.zeros(1, B, H)).tolist() == [[0.0] * 5] * B


@pytest.mark.parametrize("outputs", [1, 3])
def test_difference_head(outputs: int) -> None:
    head, pooled = DifferenceHead(H, outputs).double(), vectors(2)
    u, v = pooled.numpy()
    close(head(pooled), linear(head.output, np.concatenate([u, v, np.abs(u - v)], axis=1)))
    assert head(pooled).shape == (B, outputs)
    assert head.output.in_features == 3 * H


def test_cosine_head() -> None:
    head, pooled = CosineHead(5.0), vectors(2)
    u, v = pooled.numpy()
    norms = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
    close(head(pooled), 5 * ((u * v).sum(1) / norms)[:, None])
    assert not list(head.parameters())


def test_cosine_head_spans_its_scale() -> None:
    u = vectors(1)[0]
    head = CosineHead(5.0)
    close(head(torch.stack([u, 3 * u])), np.full((B, 1), 5.0))
    close(head(torch.stack([u, -u])), np.full((B, 1), -5.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("zero", ["u", "v", "both"])
def test_cosine_of_zero_vectors(dtype: torch.dtype, zero: str) -> None:
    """Finite, and so is its gradient."""
    u, v = (torch.full((B, H), 1.0 * (zero not in (name, "both")), dtype=dtype) for name in "uv")
    u.requires_grad_(), v.requires_grad_()
    value = cosine(u, v)
    value.sum().backward()
    assert not value.any()
    assert u.grad is not None and u.grad.isfinite().all()
    assert v.grad is not None and v.grad.isfinite().all()


def test_cosine_stays_in_range_for_tiny_and_huge_vectors() -> None:
    for size in (1e-30, 1e-12, 1e15):
        u, v = size * torch.randn(2, 100, H)
        value = cosine(u, v)
        assert value.isfinite().all() and value.abs().max() <= 1 + 1e-6


@pytest.mark.parametrize("head", [DifferenceHead(H, 1), CosineHead(5.0), RelationalLayer(H, 2)])
def test_gradients_of_the_pair_heads(head: nn.Module) -> None:
    assert torch.autograd.gradcheck(head.double(), vectors(2).requires_grad_())


def leaky_relu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(x > 0, x, 0.01 * x)


def test_relational_layer_over_two_vectors() -> None:
    layer, pooled = RelationalLayer(H, views=2).double(), vectors(2)
    u, v = pooled.numpy()
    norms = np.linalg.norm(u, axis=1, keepdims=True) * np.linalg.norm(v, axis=1, keepdims=True)
    features = np.concatenate([u, v, np.abs(u - v), u * v / (norms + 1e-8)], axis=1)
    close(layer(pooled), leaky_relu(linear(layer.dense, features))[None])
    assert (layer.dense.in_features, layer.dense.out_features) == (4 * H, H)


def test_relational_layer_over_one_vector() -> None:
    layer, pooled = RelationalLayer(H, views=1).double(), vectors(1)
    close(layer(pooled), leaky_relu(linear(layer.dense, pooled[0].numpy()))[None])
    assert layer.dense.in_features == H


@pytest.mark.parametrize("views", [1, 2])
def test_a_vector_head_can_follow(views: int) -> None:
    stack = nn.Sequential(RelationalLayer(H, views), VectorHead(H, 1))
    assert stack(vectors(views).float()).shape == (B, 1)


def test_a_squashed_head_stays_within_the_labels() -> None:
    head, pooled = SquashedHead(H, 5.0).double(), 40 * vectors(1)
    logits = linear(head.linear.output, pooled[0].numpy())
    close(head(pooled), 5 / (1 + np.exp(-logits)))
    outputs = head(pooled).tolist()
    assert all(0 <= number <= 5 for (number,) in outputs)
    assert SquashedHead(H, 5.0)(torch.zeros(1, B, H)).tolist() == [[2.5]] * B


def test_dropout_of_the_relational_layer_acts_before_and_behind_it() -> None:
    pooled = torch.ones(2, 4000, H)
    layer = RelationalLayer(H, views=2, dropout=0.5)
    torch.nn.init.constant_(layer.dense.bias, 1.0)
    plain = layer.eval()(pooled)
    assert torch.equal(plain, RelationalLayer.forward(layer, pooled))
    layer.train()
    dropped = layer(pooled)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.5, abs=0.02)  # behind it
    torch.nn.init.zeros_(layer.dense.weight)
    kept = layer(pooled)
    assert set(kept.unique().tolist()) == {0.0, 2.0}  # so the other values came from before it
    assert len(dropped.unique()) > 100


def test_product_features_sum_to_the_cosine() -> None:
    layer, pooled = RelationalLayer(H, views=2), vectors(2)
    products = layer._features(pooled)[:, 3 * H :]
    torch.testing.assert_close(products.sum(-1), cosine(*pooled), rtol=1e-6, atol=1e-6)


def test_relational_layer_of_zero_vectors() -> None:
    pooled = torch.zeros(2, B, H, requires_grad=True)
    out = RelationalLayer(H, views=2)(pooled)
    out.sum().backward()
    assert out.isfinite().all()
    assert pooled.grad is not None and pooled.grad.isfinite().all()


@pytest.mark.parametrize("head", [VectorHead(H, 1), DifferenceHead(H, 1), CosineHead(5.0)])
def test_examples_do_not_see_each_other(head: nn.Module) -> None:
    head, pooled = head.double(), vectors(2)
    order = torch.randperm(B)
    torch.testing.assert_close(head(pooled[:, order]), head(pooled)[order])
