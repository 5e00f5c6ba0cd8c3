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
from minbert.regularizers import spectral
from minbert.regularizers.base import Regularizer
from minbert.regularizers.freelb import FreeLB
from minbert.regularizers.objective import Objective
from minbert.regularizers.r3f import R3F
from minbert.regularizers.smart.adversarial import Adversarial
from minbert.regularizers.smart.bregman import Bregman
from minbert.support.randomness import Draws
from minbert.training.cuda_graphs import GraphedObjective
from tests.helpers import CPU

BALL = {"epsilon": 1e-2, "sigma": 1e-2, "eta": 1e-2}  # large enough to count in the loss


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


def objective_of(name: str, model: Any) -> Any:
    if name == "freelb":
        return FreeLB(steps=3, radius=0.1, init=0.1)
    if name == "r4f":
        spectral.normalize(model.head_chain("sst"))
    terms: dict[str, Callable[[], list[Regularizer]]] = {
        "plain": list,
        "smart off": lambda: [Adversarial(**BALL), Bregman(model)],
        "smart shared": lambda: [
            Adversarial(dropout="shared", reuse_clean=True, **BALL),
            Bregman(model, beta=0.9, late_beta=0.99, dropout="shared"),
        ],
        "smart independent": lambda: [Adversarial(dropout="independent", steps=2, **BALL)],
        "r3f": lambda: [R3F(sigma=0.01)],
        "r4f": lambda: [R3F(sigma=0.01, normalized_heads=True)],
    }
    return Objective(terms[name]())
