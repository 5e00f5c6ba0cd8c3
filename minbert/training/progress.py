"""The progress of a run: the numbers it keeps, and the checkpoint it goes on from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from minbert.support.console import clock
from minbert.training.checkpoint import CheckpointStore, optimizer_tensors, restore_optimizer
from minbert.training.plan import B, Evaluation, M, StepBatch, Trainee


@dataclass
class Progress:
    """The numbers of a run that every checkpoint holds."""

    step: int = 0
    epochs_scored: int = 0  # or passed without a score, where the last alone gets one
    best_epoch: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    epoch_seconds: float = 0.0
    tokens: dict[str, list[int]] = field(default_factory=dict)  # task -> [real, padded]

    def count(self, batches: Sequence[StepBatch], seconds: float) -> None:
        """Count one more step."""
        self.step += 1
        self.epoch_seconds += seconds
        for batch in batches:
            if batch.padded_tokens:
                counts = self.tokens.setdefault(batch.name, [0, 0])
                counts[0] += batch.real_tokens
                counts[1] += batch.padded_tokens

    def record(self, evaluation: Evaluation, dev_seconds: float) -> None:
        """Record the evaluation after an epoch, and begin to count the next epoch's seconds."""
        epoch = self.epochs_scored + 1
        if evaluation.criterion > self.best:
            self.best_epoch = epoch
        row = {
            "epoch": epoch,
            "step": self.step,
            "scores": dict(evaluation.scores),
            "criterion": evaluation.criterion,
            "train_seconds": round(self.epoch_seconds, 3),
            "dev_seconds": round(dev_seconds, 3),
        }
        self.history.append(row)
        self.epochs_scored, self.epoch_seconds = epoch, 0.0

    @property
    def best(self) -> float:
        """The highest criterion so far, -inf before the first score."""
        return max((row["criterion"] for row in self.history), default=float("-inf"))

    def shown(self, last: Mapping[str, Any]) -> dict[str, str]:
        """The figures behind the progress bar; `last` is the log's last line, empty at first.

        The first ones count most: a narrow terminal has no room for all.
        """
        figures = {"loss": f"{last['loss']:.4f}"} if last else {}
        if self.history:
            figures["best dev"] = f"{self.best:.4f}"
        if last:
            figures["tokens/s"] = f"{last['tokens_per_s']:,}"
        return figures

    def time_left(self, total_steps: int) -> str:
        """The time that the rest takes at the pace of the epoch just scored; empty at the end."""
        last, before = self.history[-1], self.history[:-1]
        steps = last["step"] - (before[-1]["step"] if before else 0)
        rest = total_steps - self.step
        seconds = rest / max(steps, 1) * (last["train_seconds"] + last["dev_seconds"])
        return f"; about {clock(seconds)} left" if rest else ""


def save_state(
    store: CheckpointStore, trainee: Trainee[M, B], facts: Mapping[str, Any], progress: Progress
) -> None:
    """Write the checkpoint that `resume` goes on from."""
    tensors, numbers = optimizer_tensors(trainee.optimizer)
    groups = {"model": trainee.model.state_dict(), "optimizer": tensors}
    groups["objective"] = trainee.objective.state_dict()
    store.save_step(progress.step, groups, {**facts, **asdict(progress), "optimizer": numbers})


def resume(
    trainee: Trainee[M, B], saved: tuple[Mapping[str, Mapping[str, Tensor]], Mapping[str, Any]]
) -> Progress:
    """Put a checkpoint's state back into model, objective and optimizer; return its progress.

    A finished run's checkpoint has no tensors: there is nothing left to train.
    """
    groups, state = saved
    if groups:
        trainee.model.load_state_dict(groups["model"])
        trainee.objective.load_state_dict(dict(groups["objective"]))
        restore_optimizer(trainee.optimizer, groups["optimizer"], state["optimizer"])
    known = Progress.__dataclass_fields__
    return Progress(**{name: value for name, value in state.items() if name in known})
