"""The number of a run's steps; for a time budget, from the speed measured once."""

import copy
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from minbert.pretrain.build import Ingredients, Pretrainee, trainee
from minbert.support.console import log
from minbert.support.device import wait_for
from minbert.support.errors import InputError
from minbert.support.randomness import derive_seed
from minbert.training import group
from minbert.training.checkpoint import CheckpointStore
from minbert.training.progress import Progress, save_state
from minbert.training.record import STEPS

_RESERVE = 0.02  # share of a time budget for the end and for errors of measurement
_TRIED = 50  # steps that a measurement takes at most


@dataclass(frozen=True)
class Costs:
    """Seconds that a step, a scoring and a checkpoint take."""

    step: float
    scoring: float
    checkpoint: float

    def steps(self, seconds: float, scorings: int, checkpoint_every: int) -> int:
        """The steps that fit, if every scoring keeps a best model and a checkpoint."""
        left = seconds - scorings * (self.scoring + 2 * self.checkpoint)
        return int(left / (self.step + self.checkpoint / checkpoint_every))


def total_steps(ingredients: Ingredients, folder: Path, began: float) -> int:
    """The run's steps; with a time budget as many as fit into what is left of it since `began`.

    `began` is in monotonic seconds. A resumed run keeps the number that it began with, so that it
    ends in the same bytes. Raises InputError where the budget is too short for a step.
    """
    config = ingredients.config
    if config.steps is not None:
        return config.steps
    if config.time_budget is None:
        lesson = ingredients.lessons[0]
        return max(1, round((config.passes or 1) * len(lesson.text) / lesson.batch_size))
    saved = CheckpointStore(folder).load_last() if config.resume else None
    group.wait()  # a measurement makes a folder of its own there
    fixed = None if saved is None else saved[1]["settings"].get(STEPS)
    return _affordable(ingredients, folder, began) if fixed is None else int(fixed)


def keep_steps(trained: Pretrainee, folder: Path, facts: Mapping[str, Any]) -> None:
    """Save a checkpoint at step 0, so that a killed run finds the number of its steps again."""
    store = CheckpointStore(folder)
    if store.load_last() is None:
        save_state(store, trained, facts, Progress())


def _affordable(ingredients: Ingredients, folder: Path, began: float) -> int:
    config, budget = ingredients.config, ingredients.config.budget_seconds()
    trial = trainee(ingredients, config.scorings * _TRIED, copy.deepcopy(ingredients.model))
    costs = _measure(trial, folder, enough=min(20.0, 0.05 * budget))
    left = budget * (1 - _RESERVE) - (time.monotonic() - began)
    steps = -group.highest(-costs.steps(left, config.scorings, config.checkpoint_every))
    log.info(
        "time budget %s: a step takes %.3g s, each of %d scorings %.3g s, a checkpoint %.3g s",
        config.time_budget,
        costs.step,
        config.scorings,
        costs.scoring,
        costs.checkpoint,
    )
    if steps < 1:
        raise InputError(f"--time_budget {config.time_budget}: too short, give more time")
    return steps


def _measure(trial: Pretrainee, folder: Path, enough: float) -> Costs:
    """Measure steps for `enough` seconds, a scoring and a checkpoint, which is thrown away."""
    step_seconds = _measure_steps(trial, enough)
    began = time.monotonic()
    trial.plan.evaluate(trial.model)
    scoring = time.monotonic() - began
    with tempfile.TemporaryDirectory(dir=folder, prefix=".trial-", suffix=".tmp") as place:
        began = time.monotonic()
        save_state(CheckpointStore(Path(place)), trial, {}, Progress())
        checkpoint = time.monotonic() - began
    return Costs(step_seconds, scoring, checkpoint)


def _measure_steps(trial: Pretrainee, enough: float) -> float:
    """Seconds of a step; the first one, which warms up, does not count."""
    spent: list[float] = []
    for step, rows_by_task in enumerate(islice(trial.plan.order.epoch(0), _TRIED)):
        began, seed = time.monotonic(), derive_seed(trial.plan.seed, "trial", step)
        for task, rows in rows_by_task:
            trial.objective.backward(trial.model, trial.plan.draw(task, rows), seed)
        trial.optimizer.step()
        trial.optimizer.zero_grad()
        wait_for(trial.model.device)
        spent.append(time.monotonic() - began)
        if step > 1 and group.highest(int(sum(spent) > enough)):  # all ranks at once
            break
    return sum(spent[1:]) / len(spent[1:])
