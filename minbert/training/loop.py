"""The training loop. It knows no task and no regularizer by name, nor what the model is for."""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from minbert.support.console import ProgressBar, log
from minbert.support.device import release_memory
from minbert.support.errors import Stopped
from minbert.support.randomness import derive_seed
from minbert.support.signals import StopRequest
from minbert.training.checkpoint import CheckpointStore
from minbert.training.journal import Journal
from minbert.training.plan import B, M, StepAgain, Trainee
from minbert.training.progress import Progress, save_state


def fit(
    trainee: Trainee[M, B],
    progress: Progress,
    *,
    store: CheckpointStore,
    journal: Journal,
    stop: StopRequest,
    facts: Mapping[str, Any],
) -> None:
    """Train to `plan.total_steps`, scoring after each epoch; the best epoch's model is kept.

    With `plan.last_only` the last epoch alone is scored, and its model kept.

    `progress` says where to begin, and is kept up to date. `facts` are saved with every checkpoint.
    Raises RunError on a non-finite loss or gradient, which never reaches the weights, and Stopped,
    after a checkpoint, on a signal.
    """
    plan, epochs = trainee.plan, trainee.plan.epochs

    def save() -> None:
        journal.sync()  # nothing is saved that has not been checked
        save_state(store, trainee, facts, progress)
        journal.leave_out_time()

    for epoch in range(progress.epochs_scored, epochs):
        first, last = plan.bounds(epoch)
        done, title = progress.step - first, f"epoch {epoch + 1}/{epochs}"
        is_scored = not plan.last_only or epoch == epochs - 1
        with stop.deferred():
            with ProgressBar(last - first, title, "steps", done=done) as bar:
                for rows_by_task in islice(plan.order.epoch(epoch), done, last - first):
                    began = time.monotonic()
                    batches = [plan.draw(task, rows) for task, rows in rows_by_task]
                    train_step(trainee, progress.step, batches, journal)
                    stop.settle()
                    progress.count(batches, time.monotonic() - began)
                    bar.update(1, progress.shown(journal.last))
                    if progress.step % 100 == 0:
                        release_memory()
                    due = progress.step % plan.checkpoint_every == 0
                    due &= progress.step < last or not is_scored
                    if due or stop.signum is not None:
                        save()
                    stop.obey()
            if is_scored:
                _score(trainee, progress, store, journal, stop, save)
                save()
            else:
                progress.epochs_scored += 1
        stop.obey()


def train_step(trainee: Trainee[M, B], step: int, batches: Sequence[B], journal: Journal) -> None:
    """Make one update, from the sum of the batches' gradients.

    At the step `plan.fresh_at` the optimizer forgets its state. A group's rate is the plan's times
    the group's `lr_factor`, 1 if it has none. The journal gets the norm of all gradients before
    they are clipped. Afterwards the gradients are zeroed, and the objective is told.
    """
    model, plan, optimizer = trainee.model, trainee.plan, trainee.optimizer
    if step == plan.fresh_at:
        optimizer.state.clear()
    rate = plan.learning_rate(step)
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_factor", 1.0)
    values = _add_gradients(trainee, step, batches)
    params = [param for group in optimizer.param_groups for param in group["params"]]
    gradients = [param.grad for param in params if param.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    journal.add(step, rate, batches, values, norm)
    loss = torch.stack([scalars["loss"] for scalars in values]).sum()
    optimizer.found_inf = scale_gradients(gradients, norm, loss, plan.clip)
    optimizer.step()
    optimizer.zero_grad()
    trainee.objective.after_step(model)


def _add_gradients(
    trainee: Trainee[M, B], step: int, batches: Sequence[B]
) -> list[dict[str, Tensor]]:
    """Add the gradients of a step's batches; return the values of each for the log."""
    seeds = [derive_seed(trainee.plan.seed, "pass", step)]  # one a batch
    seeds += [derive_seed(trainee.plan.seed, "pass", step, turn) for turn in range(1, len(batches))]
    try:
        return [
            trainee.objective.backward(
                trainee.model, batch, seed, step, more=batch is not batches[-1]
            )
            for batch, seed in zip(batches, seeds, strict=True)
        ]
    except StepAgain:
        trainee.optimizer.zero_grad()
    return _add_gradients(trainee, step, batches)


def scale_gradients(
    gradients: Sequence[Tensor], norm: Tensor, loss: Tensor, clip: float | None
) -> Tensor | None:
    """Clip gradients to the L2 norm `clip`; return 1 where norm or loss is not finite, else 0.

    Nothing here waits for the device: the journal raises later, at its next flush, and until then
    the optimizer does nothing where the answer is 1. On a CPU the journal has raised already, and
    the answer is None.
    """
    if clip is not None:
        torch._foreach_mul_(list(gradients), (clip / (norm + 1e-6)).clamp(max=1.0))
    if norm.device.type == "cpu":
        return None
    return (~(torch.isfinite(norm) & torch.isfinite(loss))).float()


def _score(
    trainee: Trainee[M, B],
    progress: Progress,
    store: CheckpointStore,
    journal: Journal,
    stop: StopRequest,
    save: Callable[[], None],
) -> None:
    """Score dev after an epoch and keep the model if it is the best; on a signal save and stop."""
    began = time.monotonic()
    journal.flush()
    progress.epoch_seconds += time.monotonic() - began
    began = time.monotonic()
    try:
        with stop.immediate():
            evaluation = trainee.plan.evaluate(trainee.model)
    except Stopped:
        save()
        raise
    dev_seconds = time.monotonic() - began
    is_best = evaluation.criterion > progress.best
    if is_best:
        predictions = {name: torch.from_numpy(p) for name, p in evaluation.predictions.items()}
        store.save_best(progress.epochs_scored + 1, trainee.model.state_dict(), predictions)
    progress.record(evaluation, dev_seconds)
    _log_scores(trainee, progress, is_best=is_best)


def _log_scores(trainee: Trainee[M, B], progress: Progress, *, is_best: bool) -> None:
    row, plan = progress.history[-1], trainee.plan
    log.info(
        "epoch %d: dev %s; %s %.4f%s; %.0f s training, %.0f s scoring%s",
        row["epoch"],
        ", ".join(f"{name} {score:.3f}" for name, score in row["scores"].items()),
        plan.criterion,
        row["criterion"],
        " (best)" if is_best else "",
        row["train_seconds"],
        row["dev_seconds"],
        progress.time_left(plan.total_steps),
    )
