"""The training loop. It knows no task and no regularizer by name, nor what the model is for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count, islice
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from minbert.support.console import ProgressBar, clock, log
from minbert.support.device import release_memory
from minbert.support.errors import Stopped
from minbert.support.randomness import derive_seed
from minbert.support.signals import StopRequest
from minbert.tasks.task import Array
from minbert.training.checkpoint import CheckpointStore, optimizer_tensors, restore_optimizer
from minbert.training.journal import Journal, StepBatch
from minbert.training.sampling import Rows, Schedule

M = TypeVar("M", bound=nn.Module)
B = TypeVar("B", bound=StepBatch)
M_contra = TypeVar("M_contra", bound=nn.Module, contravariant=True)
B_contra = TypeVar("B_contra", bound=StepBatch, contravariant=True)


class TrainingObjective(Protocol[M_contra, B_contra]):
    """What a step minimises; `minbert.regularizers.objective.Objective` is one."""

    def backward(
        self, model: M_contra, batch: B_contra, seed: int, step: int | None = None
    ) -> dict[str, Tensor]:
        """Add a batch's gradients; return detached scalars for the log, `loss` among them.

        `seed` decides every random draw; what changes in the course of a run may ask for `step`.
        """
        ...

    def after_step(self, model: M_contra) -> None:
        """Called after every optimizer step."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs back."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore it."""
        ...


@dataclass(frozen=True)
class Scored:
    """An evaluation: scores, the one number the best epoch is chosen by, the predictions."""

    scores: Mapping[str, float]
    criterion: float
    predictions: Mapping[str, Array]


@dataclass
class Progress:
    """How far a run has come; all of it is in every checkpoint."""

    step: int = 0
    epochs_scored: int = 0
    best_epoch: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    epoch_seconds: float = 0.0
    tokens: dict[str, list[int]] = field(default_factory=dict)  # task -> [real, padded]

    def count(self, batches: Sequence[StepBatch], seconds: float) -> None:
        """One more step is done."""
        self.step += 1
        self.epoch_seconds += seconds
        for batch in batches:
            if batch.padded_tokens:
                counts = self.tokens.setdefault(batch.name, [0, 0])
                counts[0] += batch.real_tokens
                counts[1] += batch.padded_tokens

    @property
    def best(self) -> float:
        """The highest criterion so far, -inf before the first score."""
        return max((row["criterion"] for row in self.history), default=float("-inf"))


@dataclass(frozen=True)
class Words:
    """What the log calls a stretch between evaluations, the examples scored, and the criterion."""

    epoch: str = "epoch"
    dev: str = "dev"
    criterion: str = "overall of what trains"


@dataclass(frozen=True)
class Plan(Generic[M, B]):
    """How long to train and what to do on the way."""

    schedule: Schedule
    draw: Callable[[str, Rows], B]
    rate: Callable[[int], float]  # step -> learning rate
    evaluate: Callable[[M], Scored]
    total_steps: int
    seed: int
    clip: float | None = None
    checkpoint_every: int = 500
    fresh_at: int = 0  # the step at which the optimizer starts anew
    words: Words = Words()

    @property
    def epochs(self) -> int:
        """How many epochs begin before the last step."""
        return next(n for n in count() if self.schedule.start(n) >= self.total_steps)


def fit(
    model: M,
    objective: TrainingObjective[M, B],
    optimizer: Optimizer,
    plan: Plan[M, B],
    *,
    store: CheckpointStore,
    journal: Journal,
    stop: StopRequest,
    facts: Mapping[str, Any],
    progress: Progress | None = None,
) -> Progress:
    """Train to `plan.total_steps`, scoring after each epoch; the best epoch's model is kept.

    `facts` are saved with every checkpoint. Raises RunError on a non-finite loss or gradient,
    which never reaches the weights, and Stopped, after a checkpoint, on a signal.
    """
    progress = progress or Progress()
    epochs = plan.epochs

    def save() -> None:
        journal.flush()  # nothing is saved that has not been checked
        save_state(store, model, objective, optimizer, facts, progress)
        journal.leave_out_time()

    for epoch in range(progress.epochs_scored, epochs):
        first, next_first = plan.schedule.start(epoch), plan.schedule.start(epoch + 1)
        last = min(next_first, plan.total_steps)
        steps = islice(plan.schedule.epoch(epoch), progress.step - first, last - first)
        title = f"{plan.words.epoch} {epoch + 1}/{epochs}"
        bar = ProgressBar(last - first, title, "steps", done=progress.step - first)
        with stop.deferred():
            with bar:
                for step in steps:
                    began = time.monotonic()
                    batches = [plan.draw(task, rows) for task, rows in step]
                    train_step(model, objective, optimizer, plan, progress.step, batches, journal)
                    progress.count(batches, time.monotonic() - began)
                    bar.update(1, _shown(journal, progress, plan.words))
                    due = progress.step % plan.checkpoint_every == 0 and progress.step < last
                    if progress.step % 100 == 0:
                        release_memory()
                    if due or stop.signum is not None:
                        save()
                    if stop.signum is not None:
                        raise Stopped(stop.signum)
            began = time.monotonic()
            journal.flush()
            progress.epoch_seconds += time.monotonic() - began
            _score(model, plan, progress, epoch, store, save, stop)
            save()
        if stop.signum is not None:
            raise Stopped(stop.signum)
    return progress


def save_state(
    store: CheckpointStore,
    model: M,
    objective: TrainingObjective[M, B],
    optimizer: Optimizer,
    facts: Mapping[str, Any],
    progress: Progress,
) -> None:
    """Write the checkpoint that `resume` goes on from."""
    tensors, numbers = optimizer_tensors(optimizer)
    groups = {"model": model.state_dict(), "optimizer": tensors}
    groups["objective"] = objective.state_dict()
    state = {**facts, **asdict(progress), "optimizer": numbers}
    store.save_step(progress.step, groups, state)


def train_step(
    model: M,
    objective: TrainingObjective[M, B],
    optimizer: Optimizer,
    plan: Plan[M, B],
    step: int,
    batches: Sequence[B],
    journal: Journal,
) -> None:
    """One update, from the sum of the batches' gradients."""
    if step == plan.fresh_at:
        optimizer.state.clear()
    rate = plan.rate(step)
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_factor", 1.0)
    seeds = [derive_seed(plan.seed, "pass", step)]  # one a batch
    seeds += [derive_seed(plan.seed, "pass", step, turn) for turn in range(1, len(batches))]
    values = [
        objective.backward(model, batch, seed, step)
        for batch, seed in zip(batches, seeds, strict=True)
    ]
    params = [param for group in optimizer.param_groups for param in group["params"]]
    gradients = [param.grad for param in params if param.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    journal.add(step, rate, batches, values, norm)
    loss = torch.stack([own["loss"] for own in values]).sum()
    scale_gradients(gradients, norm, loss, plan.clip)
    optimizer.step()
    optimizer.zero_grad()
    objective.after_step(model)


def scale_gradients(
    gradients: Sequence[Tensor], norm: Tensor, loss: Tensor, clip: float | None
) -> None:
    """Clip gradients to the L2 norm `clip`, and zero them all where norm or loss is not finite.

    All on the device: the journal raises later, at its next flush, and until then a non-finite
    value has not reached the weights. On a CPU the journal has raised already.
    """
    if clip is not None:
        torch._foreach_mul_(list(gradients), (clip / (norm + 1e-6)).clamp(max=1.0))
    if norm.device.type != "cpu":
        finite = torch.isfinite(norm) & torch.isfinite(loss)
        for gradient in gradients:
            gradient.copy_(torch.where(finite, gradient, 0.0))


def _score(
    model: M,
    plan: Plan[M, B],
    progress: Progress,
    epoch: int,
    store: CheckpointStore,
    save: Callable[[], None],
    stop: StopRequest,
) -> None:
    """Score dev after an epoch and keep the model if it is the best; on a signal save and stop."""
    began = time.monotonic()
    try:
        with stop.immediate():
            scored = plan.evaluate(model)
    except Stopped:
        save()
        raise
    row = {
        "epoch": epoch + 1,
        "step": progress.step,
        "scores": dict(scored.scores),
        "criterion": scored.criterion,
        "train_seconds": round(progress.epoch_seconds, 3),
        "dev_seconds": round(time.monotonic() - began, 3),
    }
    is_best = scored.criterion > progress.best
    if is_best:
        predictions = {name: torch.from_numpy(own) for name, own in scored.predictions.items()}
        store.save_best(epoch + 1, model.state_dict(), predictions)
        progress.best_epoch = epoch + 1
    progress.history.append(row)
    progress.epochs_scored, progress.epoch_seconds = epoch + 1, 0.0
    shown = ", ".join(f"{name} {score:.3f}" for name, score in scored.scores.items())
    words = plan.words
    log.info(
        "%s %d: %s %s; %s %.4f%s; %.0f s training, %.0f s scoring%s",
        *(words.epoch, epoch + 1, words.dev, shown),
        *(words.criterion, scored.criterion, " (best)" if is_best else ""),
        *(row["train_seconds"], row["dev_seconds"], _left(plan, progress)),
    )


def _left(plan: Plan[M, B], progress: Progress) -> str:
    """How long the rest will take if it goes on as in the epoch just scored."""
    last, before = progress.history[-1], progress.history[:-1]
    steps = last["step"] - (before[-1]["step"] if before else 0)
    rest = plan.total_steps - progress.step
    seconds = rest / max(steps, 1) * (last["train_seconds"] + last["dev_seconds"])
    return f"; about {clock(seconds)} left" if rest else ""


def _shown(journal: Journal, progress: Progress, words: Words) -> dict[str, str]:
    """What stands behind the progress bar: the last loss known, the speed, the best score."""
    shown = {}
    if journal.last:
        shown["loss"] = f"{journal.last['loss']:.4f}"
        shown["tokens/s"] = f"{journal.last['tokens_per_s']:,}"
    if progress.history:
        shown[f"best {words.dev}"] = f"{progress.best:.4f}"
    return shown


def resume(
    model: M,
    objective: TrainingObjective[M, B],
    optimizer: Optimizer,
    saved: tuple[Mapping[str, Mapping[str, Tensor]], Mapping[str, Any]],
) -> Progress:
    """Put a checkpoint's state back into the three, and return how far it had come.

    A finished run's checkpoint has no tensors: there is nothing left to train.
    """
    groups, state = saved
    if groups:
        model.load_state_dict(groups["model"])
        objective.load_state_dict(dict(groups["objective"]))
        restore_optimizer(optimizer, groups["optimizer"], state["optimizer"])
    known = Progress.__dataclass_fields__
    return Progress(**{name: value for name, value in state.items() if name in known})
