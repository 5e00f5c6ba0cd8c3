"""Bregman proximal point optimization with momentum (Jiang et al. 2020, section 2.2)."""

import copy

import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.regularizers import spectral
from minbert.regularizers.base import Regularizer, TrainingPass
from minbert.support.flags import PerTask


class Bregman(Regularizer):
    """mean l_s(f(x; θ), f(x; θ̃)): stay close, in the outputs, to an average of past weights.

    θ̃₀ = θ₀ and, after every optimizer step, θ̃ ← (1 - β) θ + β θ̃, heads included. No gradient
    flows into θ̃. Student and teacher run under the same dropout policy.
    """

    name = "bregman"

    def __init__(
        self,
        model: MultitaskBert,
        *,
        weight: PerTask = 1.0,
        beta: float = 0.995,
        dropout: str = "off",
    ) -> None:
        """`weight` is μ. The teacher starts as a copy of `model`."""
        self.weight, self.beta, self.dropout = weight, beta, dropout
        self.replays_masks = dropout == "shared"
        self._teacher = copy.deepcopy(model).requires_grad_(False)

    def loss(self, _model: MultitaskBert, batch: Batch, training: TrainingPass) -> Tensor:
        """The term for this batch, a scalar."""
        student = training.clean_logits(self.dropout)
        with torch.no_grad():
            teacher = self._teacher(batch, mask_seed=training.mask_seed(self.dropout, self.name))
        return batch.task.divergence(student, teacher)

    @torch.no_grad()
    def after_step(self, model: MultitaskBert) -> None:
        """Move the teacher by 1 - β towards the model."""
        pairs = [
            (average, current)
            for average, current in zip(self._teacher.parameters(), model.parameters(), strict=True)
            if current.requires_grad  # frozen weights never differ
        ]
        averages, currents = zip(*pairs, strict=True)
        torch._foreach_lerp_(averages, currents, 1 - self.beta)
        spectral.refresh(self._teacher)

    def state_dict(self) -> dict[str, Tensor]:
        """The teacher's weights."""
        return dict(self._teacher.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the teacher."""
        self._teacher.load_state_dict(state)
