"""A stand-in for the recording of kernels: it keeps the work itself, and does it again.

A replay has the recording's own tensors and generators, as it would on a card.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from minbert.data import batches
from minbert.encoder import unpadding
from minbert.pretrain import objective as pretraining
from minbert.support.randomness import Draws
from minbert.training.cuda_graphs import GraphedObjective
from tests.helpers import CPU


class Again:
    """Records by keeping the work; `replays` counts how often it was done again."""

    def __init__(self, model: nn.Module) -> None:
        self.weights = [*model.parameters()]
        self.gradients: dict[nn.Parameter, Tensor] = {}  # the objective's own
        self.recorded = self.replays = 0

    def __call__(self, work: Callable[[], Any], draws: Draws) -> tuple[Callable[[], None], Any]:
        draws.make_generators(CPU)
        draws.seed(0)
        before = [tensor.clone() for tensor in self.gradients.values()]
        with draws.redrawn():
            result = work()
        torch._foreach_copy_([*self.gradients.values()], before)  # a card would compute nothing yet
        self.recorded += 1

        def replay() -> None:
            held = [weight.grad for weight in self.weights]
            for weight in self.weights:
                weight.grad = None
            with draws.redrawn():
                result[1].copy_(work()[1])
            for weight, gradient in zip(self.weights, held, strict=True):
                weight.grad = gradient
            self.replays += 1

        return replay, result


def replayed(objective: Any, again: Again) -> GraphedObjective[Any, Any]:
    found = GraphedObjective(objective, again)
    again.gradients = found._gradients
    return found


def shape_as_on_a_gpu(patched: pytest.MonkeyPatch) -> None:
    """Texts are padded to multiples of 8, and padding is computed."""
    on_gpu = batches.padded_width

    def padded_width(length: int, longest: int, _device: Any, **step: int) -> int:
        return on_gpu(length, longest, torch.device("cuda"), **step)

    for module in (batches, pretraining):
        patched.setattr(module, "padded_width", padded_width)
    patched.setattr(unpadding, "_MOST_TOKENS", 0)
