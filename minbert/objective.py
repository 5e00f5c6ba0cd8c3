"""The training objective: the task's loss plus every regularizer's weighted term."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from minbert.batching import Batch
from minbert.model import MultitaskBert
from minbert.regularizers.base import Regularizer, TrainingPass


class Objective:
    """task.loss + Σ weight · regularizer.loss."""

    def __init__(self, regularizers: Sequence[Regularizer] = ()) -> None:
        self.regularizers = tuple(regularizers)

    def backward(
        self, model: MultitaskBert, batch: Batch, seed: int, *, probe: bool = False
    ) -> dict[str, Tensor]:
        """Add this batch's gradients to the parameters'.

        `seed` decides every random draw. Returns scalars for the log, detached: `loss`, what was
        differentiated; `task_loss`, the task's part; each regularizer's unweighted value; and with
        `probe`, which costs further passes, what they tell of themselves.
        """
        clean = TrainingPass(model, batch, seed, self.regularizers)
        terms = {"task_loss": batch.task.loss(clean.logits, batch.labels)}
        total = terms["task_loss"]
        for regularizer in self.regularizers:
            value = regularizer.loss(model, batch, clean)
            total = total + regularizer.weight * value
            terms[regularizer.name] = value
        total.backward()
        if probe:
            for regularizer in self.regularizers:
                terms |= regularizer.probe(model, batch, clean)
        return {name: value.detach() for name, value in {"loss": total, **terms}.items()}

    def after_step(self, model: MultitaskBert) -> None:
        """Tell the regularizers that the weights moved."""
        for regularizer in self.regularizers:
            regularizer.after_step(model)

    def state_dict(self) -> dict[str, Tensor]:
        """All regularizers' states, by name."""
        return {
            f"{regularizer.name}.{key}": value
            for regularizer in self.regularizers
            for key, value in regularizer.state_dict().items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore `state_dict()`."""
        for regularizer in self.regularizers:
            prefix = f"{regularizer.name}."
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            regularizer.load_state_dict(own)
