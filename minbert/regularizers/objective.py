"""The training objective: the task's loss plus every regularizer's weighted term."""

from collections.abc import Sequence

from torch import Tensor

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.regularizers.base import Regularizer, TrainingPass
from minbert.support.flags import for_task
from minbert.training.plan import ByPasses, Differentiate

# steps between two probes of the terms; it shares no factor with 2, 3 or 4 tasks that take turns,
# so that probes come to every task
PROBE_EVERY = 49


class Objective(ByPasses[MultitaskBert, Batch]):
    """task.loss + Σ weight · regularizer.loss.

    A weight may be a task's own; a term whose weight is 0 for a task is not computed there.
    """

    def __init__(self, regularizers: Sequence[Regularizer] = (), warmup_steps: int = 0) -> None:
        """All weights rise linearly from 0 over the first `warmup_steps` steps."""
        self.regularizers = tuple(regularizers)
        self._warmup_steps = warmup_steps

    @property
    def perturbs_inputs(self) -> bool:
        """Whether any term needs the word embeddings of every batch."""
        return any(term.perturbs_inputs for term in self.regularizers)

    def passes(
        self,
        model: MultitaskBert,
        batch: Batch,
        seed: int,
        step: int | None,
        differentiate: Differentiate,
    ) -> dict[str, Tensor]:
        """Hand over the one loss of this batch.

        `seed` decides every random draw. Returns detached scalars for the log: `loss`, the value
        that was differentiated; `task_loss`, the task's part of it; each regularizer's unweighted
        value. Every 49th step also logs each term's `probe()`, at the cost of extra passes.
        `step=None`: no warm-up of weights, no probes.
        """
        active = self._active(batch)
        training = TrainingPass(model, batch, seed, active)
        terms = {"task_loss": batch.task.loss(training.logits, batch.labels)}
        total, rise = terms["task_loss"], self._rise(step)
        for term in active:
            value = term.loss(model, batch, training)
            total = total + rise * for_task(term.weight, batch.name) * value
            terms[term.name] = value
        differentiate(total, True)
        if _is_probed(step):
            for term in active:
                terms |= term.probe(model, batch, training)
        return {name: value.detach() for name, value in {"loss": total, **terms}.items()}

    def recordable(self, batch: Batch, step: int | None) -> bool:
        """Whether all terms have their whole weights, can be recorded, and are not probed."""
        steady = self._rise(step) == 1 and not _is_probed(step)
        return steady and all(term.recordable for term in self._active(batch))

    def _active(self, batch: Batch) -> list[Regularizer]:
        return [term for term in self.regularizers if for_task(term.weight, batch.name) > 0]

    def _rise(self, step: int | None) -> float:
        """The factor on all weights at a step, counted from 0."""
        if step is None or step >= self._warmup_steps:
            return 1.0
        return (step + 1) / self._warmup_steps

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


def _is_probed(step: int | None) -> bool:
    return step is not None and step % PROBE_EVERY == 0
