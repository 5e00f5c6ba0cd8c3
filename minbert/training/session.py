"""The steps around `fit()` that every job takes: find where to begin, train, read the best back."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from minbert.support import durable_files
from minbert.support.console import log
from minbert.support.errors import InputError, RunError
from minbert.support.signals import StopRequest
from minbert.training import group
from minbert.training.checkpoint import CheckpointStore, DamagedCheckpoint, UnsavedCheckpoints
from minbert.training.journal import Journal
from minbert.training.loop import fit
from minbert.training.plan import B, M, Trainee
from minbert.training.progress import Progress, resume
from minbert.training.run_folder import LOG, set_earlier_run_aside
from minbert.training.tracking import followed


def starting_point(
    folder: Path, trainee: Trainee[M, B], facts: Mapping[str, Any], *, go_on: bool
) -> Progress:
    """The progress that the run begins with: its last whole checkpoint with `go_on`, else none.

    What decides a run stands in `facts["settings"]` and `facts["sha256"]`. Raises InputError where
    the checkpoint has other ones. An earlier run that is not gone on with is moved aside, unless a
    launcher started these processes again: then it is this run, killed before its first checkpoint.
    """
    store = CheckpointStore(folder)
    store.drop_drafts()
    saved = store.load_last() if go_on else None
    if saved is None:
        if go_on:
            log.info("--resume: no whole checkpoint in %s, starting afresh", folder)
        if not group.restarted():
            set_earlier_run_aside(folder)
        return Progress()
    for kind in ("settings", "sha256"):
        _refuse_changes(folder, saved[1][kind], facts[kind])
    progress = resume(trainee, saved)
    log.info("resumed at step %d of %d", progress.step, trainee.plan.total_steps)
    return progress


def _refuse_changes(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    keys = dict.fromkeys((*now, *before))
    if changed := [key for key in keys if before.get(key) != now.get(key)]:
        key = changed[0]
        raise InputError(
            f"--resume: {folder} was begun with another {', '.join(changed)} "
            f"({key} was {before.get(key)}, is {now.get(key)}); use the same, "
            "or start another run with --output_dir"
        )


def train(
    folder: Path,
    trainee: Trainee[M, B],
    facts: Mapping[str, Any],
    progress: Progress,
    stop: StopRequest,
    track: str | None = None,
) -> None:
    """Call `fit()` from `progress` on. Rank 0 alone writes log and checkpoints into `folder`.

    `track` names the tracker that follows the log. Raises RunError where it cannot begin.
    """
    first = group.rank() == 0
    stop.agree = group.highest if group.size() > 1 else None
    store = CheckpointStore(folder) if first else UnsavedCheckpoints(folder)
    kept = durable_files.JsonLines(folder / LOG if first else Path(os.devnull))
    if first:
        kept.cut_before(progress.step)
    own = track if first else None
    lines = followed(kept, own, folder, facts["settings"], progress.history)
    journal = Journal(lines, next(trainee.model.parameters()).device)
    try:
        fit(trainee, progress, store=store, journal=journal, stop=stop, facts=facts)
    finally:
        lines.close()


def load_best(folder: Path, model: nn.Module, progress: Progress) -> dict[str, Tensor]:
    """Give `model` the best epoch's weights; return its dev predictions. Raises RunError."""
    assert progress.best_epoch is not None
    try:
        weights, predictions = CheckpointStore(folder).load_best(progress.best_epoch)
    except DamagedCheckpoint as error:
        raise RunError(f"the best model cannot be read back: {error}; run again") from error
    model.load_state_dict(weights)
    return predictions
