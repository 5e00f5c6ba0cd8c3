"""What the regularizers' tests share: comparing with formulas, finite differences, masks seen."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from minbert.model import MultitaskBert
from tests.regularizers import formulas
from tests.tiny_models import Case, assert_gradients_agree, gradients


def net_of(case: Case, *, dropout: float = 0.1, pooling: str = "cls") -> formulas.Net:
    """The formulas' view of `tiny_model(case)`."""
    return formulas.Net(case.task, case.form, dropout, 0.3, pooling)


def weights_of(model: MultitaskBert) -> formulas.Weights:
    """Copies of the model's weights that take gradients of their own."""
    return {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}


@contextlib.contextmanager
def seen_masks(model: MultitaskBert) -> Iterator[list[int | None]]:
    """The masks' seed of every pass of `model` inside the block, in order."""
    seen: list[int | None] = []
    handle = model.register_forward_pre_hook(
        lambda _model, _args, kwargs: seen.append(kwargs["mask_seed"]), with_kwargs=True
    )
    yield seen
    handle.remove()


def assert_is_the_formula(
    model: MultitaskBert,
    ours: Tensor,
    weights: formulas.Weights,
    expected: Tensor,
    relative: float = 1e-6,
    negligible: float = 1e-6,
) -> None:
    """Our value and every parameter's gradient are those of `expected`, a function of `weights`.

    Where `ours` is detached, its gradients are in the model already.
    """
    assert float(ours.detach()) == pytest.approx(float(expected.detach()), rel=relative, abs=1e-30)
    if ours.requires_grad:
        ours.backward()
    expected.backward()
    slopes = {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad
        for name, weight in weights.items()
    }
    assert_gradients_agree(gradients(model), slopes, relative, negligible)


def assert_is_the_finite_difference(
    model: MultitaskBert, value_of: Callable[[MultitaskBert], Tensor], step: float = 1e-6
) -> None:
    """The gradients in `model` are the slope of a value in a random direction, to relative 1e-4.

    Then they are forgotten.
    """
    source = torch.Generator().manual_seed(5)
    towards = {
        name: torch.randn(param.shape, generator=source, dtype=param.dtype)
        for name, param in model.named_parameters()
    }
    slope = sum(float((grad * towards[name]).sum()) for name, grad in gradients(model).items())

    def moved(distance: float) -> float:
        other = copy.deepcopy(model)
        with torch.no_grad():
            for name, param in other.named_parameters():
                param += distance * towards[name]
        return float(value_of(other).detach())

    assert (moved(step) - moved(-step)) / (2 * step) == pytest.approx(slope, rel=1e-4)
