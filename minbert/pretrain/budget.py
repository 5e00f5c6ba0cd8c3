"""How many steps a run has; for a time budget, from the speed measured once."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from minbert.pretrain.build import Ingredients, Pretrainee, trainee
from minbert.pretrain.config import PretrainConfig
from minbert.pretrain.shards import TRAIN
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.randomness import derive_seed
from minbert.training.checkpoint import CheckpointStore
from minbert.training.loop import Progress, save_state

STEPS = "total_steps"  # where manifest and checkpoints keep it
_RESERVE = 0.02  # of a time budget, for the end and what was measured too short
_TRIED = 50  # steps that a measurement takes at most


@dataclass(frozen=True)
class Costs:
    """Seconds that a step, a scoring and a checkpoint take."""

    step: float
    scoring: float
    checkpoint: float

    def steps(self, seconds: float, scorings: int, checkpoint_every: int) -> int:
        """How many steps fit, if every scoring keeps a best model and a checkpoint."""
        left = seconds - scorings * (self.scoring + 2 * self.checkpoint)
        return int(left / (self.step + self.checkpoint / checkpoint_every))


def total_steps(parts: Ingredients, folder: Path, began: float) -> int:
    """The run's steps; with a time budget what is left of it since `began` (monotonic seconds).

    A run that is gone on with keeps the number it began with, so that it ends in the same bytes.
    Raises InputError where the budget is too short for a step.
    """
    config = parts.config
    if config.steps is not None:
        return config.steps
    if config.time_budget is None:
        return max(1, round((config.passes or 1) * len(parts.text[TRAIN]) / config.batch_size))
    fixed = _fixed(folder) if config.resume else None
    return _affordable(parts, config, folder, began) if fixed is None else fixed


def keep_steps(trained: Pretrainee, folder: Path, facts: Mapping[str, Any]) -> None:
    """See to it that a run with a time budget finds its steps again, wherever it is killed."""
    store = CheckpointStore(folder)
    if store.load_last() is None:
        save_state(store, trained.model, trained.objective, trained.optimizer, facts, Progress())


def _fixed(folder: Path) -> int | None:
    """The number that the run in this folder fixed when it began, if it left a checkpoint."""
    saved = CheckpointStore(folder).load_last()
    return None if saved is None else saved[1]["settings"].get(STEPS)


def _affordable(parts: Ingredients, config: PretrainConfig, folder: Path, began: float) -> int:
    budget = config.budget_seconds()
    trial = trainee(parts, config.scorings * _TRIED, copy.deepcopy(parts.model))
    costs = _measure(trial, folder, enough=min(20.0, 0.05 * budget))
    left = budget * (1 - _RESERVE) - (time.monotonic() - began)
    steps = costs.steps(left, config.scorings, config.checkpoint_every)
    log.info(
        "time budget %s: a step takes %.3g s, each of %d scorings %.3g s, a checkpoint %.3g s",
        *(config.time_budget, costs.step, config.scorings, costs.scoring, costs.checkpoint),
    )
    if steps < 1:
        raise InputError(f"--time_budget {config.time_budget}: too short, give more time")
    return steps


def _measure(trial: Pretrainee, folder: Path, enough: float) -> Costs:
    """Try all three, on a model and in a part of the folder that are thrown away afterwards."""
    spent: list[float] = []
    for step, ((task, rows),) in enumerate(islice(trial.plan.schedule.epoch(0), _TRIED)):
        began = time.monotonic()
        batch = trial.plan.draw(task, rows)
        trial.objective.backward(trial.model, batch, derive_seed(trial.plan.seed, "trial", step))
        trial.optimizer.step()
        trial.optimizer.zero_grad()
        if trial.model.device.type == "cuda":
            torch.cuda.synchronize(trial.model.device)
        spent.append(time.monotonic() - began)
        if step > 1 and sum(spent) > enough:
            break
    began = time.monotonic()
    trial.plan.evaluate(trial.model)
    scoring = time.monotonic() - began
    with tempfile.TemporaryDirectory(dir=folder, prefix=".trial-", suffix=".tmp") as place:
        began = time.monotonic()
        store = CheckpointStore(Path(place))
        save_state(store, trial.model, trial.objective, trial.optimizer, {}, Progress())
        checkpoint = time.monotonic() - began
    return Costs(sum(spent[1:]) / len(spent[1:]), scoring, checkpoint)  # the first one warms up
