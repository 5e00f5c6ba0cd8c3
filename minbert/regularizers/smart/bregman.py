"""Bregman proximal point optimization with momentum (Jiang et al. 2020, section 2.2)."""

import copy

import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.regularizers import spectral
from minbert.regularizers.base import Regularizer, TrainingPass
from minbert.support.flags import PerTask
from minbert.training.optimizer import warmup_steps

_EARLY = 0.1  # of all updates
_STEPS = "updates"


class Bregman(Regularizer):
    """mean l_s(f(x; θ), f(x; θ̃)): stay close, in the outputs, to an average of past weights.

    θ̃₀ = θ₀ and, after every optimizer step, θ̃ ← (1 - β) θ + β θ̃, heads included. No gradient
    flows into θ̃. Student and teacher run under the same dropout policy. β may have another value
    after the first tenth of the updates, as in the paper (section 3.2: .99, then .999).
    """

    name = "bregman"
    recordable = True

    def __init__(
        self,
        model: MultitaskBert,
        *,
        weight: PerTask = 1.0,
        beta: float = 0.995,
        late_beta: float | None = None,
        dropout: str = "off",
    ) -> None:
        """`weight` is μ, `late_beta` β after `begin`'s first tenth of steps; None: `beta` always.

        The teacher starts as a copy of `model`.
        """
        self.weight, self.beta, self.late_beta, self.dropout = weight, beta, late_beta, dropout
        self._steps, self._early_steps = 0, 0
        self.replays_masks = dropout == "shared"
        self._teacher = copy.deepcopy(model).requires_grad_(False)

    def begin(self, steps: int) -> None:
        """Let the first tenth of so many updates have `beta`."""
        self._early_steps = warmup_steps(_EARLY, steps)

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
        torch._foreach_lerp_(averages, currents, 1 - self._momentum())
        spectral.refresh(self._teacher)
        self._steps += 1

    def _momentum(self) -> float:
        """β of the update that is made now."""
        if self.late_beta is None or self._steps < self._early_steps:
            return self.beta
        return self.late_beta

    def state_dict(self) -> dict[str, Tensor]:
        """The teacher's weights, and the number of updates where β depends on it."""
        counted = {} if self.late_beta is None else {_STEPS: torch.tensor(self._steps)}
        return {**self._teacher.state_dict(), **counted}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the teacher, and the number of updates."""
        if self.late_beta is not None:
            self._steps = int(state[_STEPS])
        self._teacher.load_state_dict({n: own for n, own in state.items() if n != _STEPS})
