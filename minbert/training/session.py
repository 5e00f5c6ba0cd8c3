"""What every training run does around `fit()`: where it begins, and its log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from torch.optim import Optimizer

from minbert.support import durable_files
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.signals import StopRequest
from minbert.training import ranks
from minbert.training.checkpoint import CheckpointStore, UnsavedCheckpoints
from minbert.training.journal import Journal
from minbert.training.loop import B, M, Plan, Progress, TrainingObjective, fit, resume
from minbert.training.run_folder import LOG, set_earlier_run_aside


@dataclass(frozen=True)
class Trainee(Generic[M, B]):
    """What is trained, how, and how long."""

    model: M
    objective: TrainingObjective[M, B]
    optimizer: Optimizer
    plan: Plan[M, B]


def starting_point(
    folder: Path, trainee: Trainee[M, B], facts: Mapping[str, Any], *, go_on: bool
) -> Progress:
    """Where the run begins: at its last whole checkpoint with `go_on`, else at step 0.

    `facts` have in `settings` and `sha256` what decides a run. Raises InputError where the
    checkpoint's are others. An earlier run that is not gone on with is moved aside.
    """
    store = CheckpointStore(folder)
    store.drop_drafts()
    saved = store.load_last() if go_on else None
    if saved is None:
        if go_on:
            log.info("--resume: no whole checkpoint in %s, starting afresh", folder)
        set_earlier_run_aside(folder)
        return Progress()
    for part in ("settings", "sha256"):
        before, now = saved[1][part], facts[part]
        keys = dict.fromkeys((*now, *before))
        if changed := [key for key in keys if before.get(key) != now.get(key)]:
            key = changed[0]
            raise InputError(
                f"--resume: {folder} was begun with another {', '.join(changed)} "
                f"({key} was {before.get(key)}, is {now.get(key)}); use the same, "
                "or start another run with --output_dir"
            )
    progress = resume(trainee.model, trainee.objective, trainee.optimizer, saved)
    log.info("resumed at step %d of %d", progress.step, trainee.plan.total_steps)
    return progress


def train(
    folder: Path,
    trainee: Trainee[M, B],
    facts: Mapping[str, Any],
    progress: Progress,
    stop: StopRequest,
) -> None:
    """`fit()` from `progress` on, with its log and checkpoints in `folder`, by rank 0 alone."""
    first = ranks.rank() == 0
    lines = durable_files.JsonLines(folder / LOG if first else Path(os.devnull))
    if first:
        lines.cut_before(progress.step)
    try:
        fit(
            trainee.model,
            trainee.objective,
            trainee.optimizer,
            trainee.plan,
            store=CheckpointStore(folder) if first else UnsavedCheckpoints(folder),
            journal=Journal(lines, next(trainee.model.parameters()).device),
            stop=stop,
            facts=facts,
            progress=progress,
        )
    finally:
        lines.close()
