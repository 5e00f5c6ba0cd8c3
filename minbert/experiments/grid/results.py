"""Finished cells read back: dev scores, predictions and seconds, gathered by row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from minbert.experiments.grid.cells import DEV, RESULT, Cell
from minbert.experiments.grid.experiment import Experiment, GridRow
from minbert.finetune.config import RunConfig
from minbert.support import durable_files
from minbert.support.errors import RunError
from minbert.tasks.course import TASKS, Array


@dataclass(frozen=True)
class CellResult:
    """What a finished cell left in its `folder`."""

    folder: Path
    scores: Mapping[str, float]  # of the best epoch, by task
    seconds: float  # mean of training an epoch
    manifest: Mapping[str, Any]

    @classmethod
    def read(cls, cell: Cell, out: Path) -> CellResult | None:
        """None where the cell has no result.

        Raises RunError for one that is damaged, or whose predictions are not what the cell wrote.
        """
        folder = cell.folder(out)
        if not (folder / RESULT).exists():
            return None
        try:
            record = json.loads((folder / RESULT).read_text(encoding="utf-8"))
            manifest = record["manifest"]
            scores = {task: float(score) for task, score in manifest["dev"].items()}
            seconds = mean(epoch["train_seconds"] for epoch in manifest["epochs"])
            _ = manifest["config"]["tasks"], manifest["config"]["rrobin"]
            whole = durable_files.sha256_of(folder / DEV) == record["sha256"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{folder / RESULT}: damaged ({error}); delete {folder}") from error
        if not whole:
            raise RunError(f"{folder / DEV}: damaged; delete {folder}")
        return cls(folder, scores, seconds, manifest)

    @cached_property
    def dev(self) -> Mapping[str, Array]:
        """`{task}_ids`, `{task}_labels` (NaN: unknown) and `{task}_predictions`, each (n,)."""
        with np.load(self.folder / DEV, allow_pickle=False) as arrays:
            return dict(arrays)


@dataclass(frozen=True)
class RowResult:
    """A row's finished cells by seed, each with one result a command; seeds in order."""

    row: GridRow
    cells: Mapping[int, tuple[CellResult, ...]]

    def result(self, seed: int, task: str) -> CellResult:
        """The first command's that scored the task."""
        return next(one for one in self.cells[seed] if task in one.scores)

    def has(self, task: str) -> bool:
        """Whether every seed has a score of the task."""
        return all(any(task in one.scores for one in own) for own in self.cells.values())

    def trains(self, task: str) -> bool:
        """Whether batches of the task train in it."""
        return all(_trains(self.result(seed, task).manifest, task) for seed in self.cells)

    def scores(self, task: str) -> list[float]:
        """A dev score a seed."""
        return [self.result(seed, task).scores[task] for seed in self.cells]

    def seconds(self) -> list[float]:
        """Seconds of training an epoch, of all commands together, a seed."""
        return [sum(one.seconds for one in own) for own in self.cells.values()]

    def predictions(self, task: str, seeds: Sequence[int]) -> tuple[Array, Array]:
        """Predictions (seeds, n) and labels (n,) of the dev examples that have a label."""
        found = [self.result(seed, task).dev for seed in seeds]
        labels = found[0][f"{task}_labels"]
        known = ~np.isnan(labels)
        return np.stack([dev[f"{task}_predictions"][known] for dev in found]), labels[known]

    def ids(self, task: str) -> Array:
        """The ids of the same examples, (n,)."""
        dev = self.result(next(iter(self.cells)), task).dev
        return dev[f"{task}_ids"][~np.isnan(dev[f"{task}_labels"])]

    def has_examples_of(self, other: RowResult, task: str) -> bool:
        """Whether both were scored on the same dev examples, in the same order."""
        (own, labels), (theirs, their_labels) = (
            (row.ids(task), row.predictions(task, list(row.cells)[:1])[1]) for row in (self, other)
        )
        return np.array_equal(own, theirs) and np.array_equal(labels, their_labels)


def _trains(manifest: Mapping[str, Any], task: str) -> bool:
    config = manifest["config"]
    tasks = config["tasks"] and tuple(config["tasks"])
    return task in RunConfig(tasks=tasks, rrobin=config["rrobin"]).trained_tasks


def gather(
    experiment: Experiment, cells: Sequence[Cell], found: Mapping[str, CellResult]
) -> list[RowResult]:
    """Every row with the seeds of which all its commands are among the results `found`, by key."""
    rows = []
    for row in experiment.rows:
        by_seed: dict[int, list[CellResult | None]] = {}
        for cell in cells:
            if cell.row == row.name:
                by_seed.setdefault(cell.seed, []).append(found.get(cell.key))
        whole = {
            seed: tuple(one for one in own if one is not None)
            for seed, own in by_seed.items()
            if None not in own
        }
        rows.append(RowResult(row, whole))
    return rows


def is_accuracy(task: str) -> bool:
    """Whether the task is scored by accuracy; the others are by Pearson's r."""
    return TASKS[task].metric_name == "accuracy"
