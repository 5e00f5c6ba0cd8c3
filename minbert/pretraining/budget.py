"""How many steps a run has; for a time budget, from the speed measured once."""

from __future__ import annotations

import copy
import time
from itertools import islice
from pathlib import Path

import torch

from minbert.checkpoint import CheckpointStore
from minbert.pretraining.build import Ingredients, Pretrainee, trainee
from minbert.pretraining.config import PretrainConfig
from minbert.pretraining.shards import TRAIN
from minbert.runtime import InputError, derive_seed, log

STEPS = "total_steps"  # where manifest and checkpoints keep it
_RESERVE = 0.02  # of a time budget, for checkpoints and the end
_TRIED = 50  # steps that a measurement takes at most


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
    return _affordable(parts, config, began) if fixed is None else fixed


def _fixed(folder: Path) -> int | None:
    """The number that the run in this folder fixed when it began, if it left a checkpoint."""
    saved = CheckpointStore(folder).load_last()
    return None if saved is None else saved[1]["settings"].get(STEPS)


def _affordable(parts: Ingredients, config: PretrainConfig, began: float) -> int:
    budget = config.budget_seconds()
    trial = trainee(parts, config.scorings * _TRIED, copy.deepcopy(parts.model))
    step_seconds, score_seconds = _measure(trial, enough=min(20.0, 0.05 * budget))
    left = budget * (1 - _RESERVE) - (time.monotonic() - began)
    steps = int((left - config.scorings * score_seconds) / step_seconds)
    log.info(
        "time budget %s: a step takes %.3g s, each of %d scorings %.3g s",
        *(config.time_budget, step_seconds, config.scorings, score_seconds),
    )
    if steps < 1:
        raise InputError(f"--time_budget {config.time_budget}: too short, give more time")
    return steps


def _measure(trial: Pretrainee, enough: float) -> tuple[float, float]:
    """Seconds a step and seconds a scoring, on a model that is thrown away afterwards."""
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
    return sum(spent[1:]) / len(spent[1:]), time.monotonic() - began  # the first one warms up
