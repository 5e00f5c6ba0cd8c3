"""Numbers that are not finite, put into a training step where a fault of hardware or code would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from minbert.training import loop


def _spoil(tensor: Tensor, value: str, place: int) -> None:
    with torch.no_grad():
        tensor.view(-1)[place % tensor.numel()] = float(value)


def _loss(make: Callable[..., None], trainee: Any, *rest: Any, value: str, **_: Any) -> None:
    """The step's first loss is not finite, its gradients are."""
    add = loop._add_gradients

    def adding(*given: Any) -> list[dict[str, Tensor]]:
        first, *others = add(*given)
        return [{**first, "loss": torch.full_like(first["loss"], float(value))}, *others]

    with patch.object(loop, "_add_gradients", adding):
        make(trainee, *rest)


def _gradient(
    make: Callable[..., None], trainee: Any, *rest: Any, value: str, which: int, place: int
) -> None:
    """One number of one gradient is not finite."""
    add = loop._add_gradients

    def adding(*given: Any) -> list[dict[str, Tensor]]:
        values = add(*given)
        gradients = [p.grad for p in trainee.model.parameters() if p.grad is not None]
        _spoil(gradients[which % len(gradients)], value, place)
        return values

    with patch.object(loop, "_add_gradients", adding):
        make(trainee, *rest)


def _weights(
    make: Callable[..., None], trainee: Any, *rest: Any, value: str, which: int, place: int
) -> None:
    """One weight is not finite after the step."""
    make(trainee, *rest)
    weights = [weight for weight in trainee.model.parameters() if weight.requires_grad]
    _spoil(weights[which % len(weights)], value, place)


def _optimizer(
    make: Callable[..., None], trainee: Any, *rest: Any, value: str, which: int, place: int
) -> None:
    """One of the optimizer's moments is not finite after the step."""
    make(trainee, *rest)
    states = [state for state in trainee.optimizer.state.values() if state]
    moments = [m for s in states for m in s.values() if isinstance(m, Tensor) and m.numel() > 1]
    _spoil(moments[which % len(moments)], value, place)


SPOILS: Mapping[
    str, Callable[..., None]
] = {  # given the step, what trains, and the fault's details
    "loss": _loss,
    "gradient": _gradient,
    "weights": _weights,
    "optimizer": _optimizer,
}
