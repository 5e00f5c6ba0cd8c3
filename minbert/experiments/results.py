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

from minbert import files
from minbert.experiments.cells import DEV, RESULT, Cell
from minbert.experiments.grid import Experiment, Row
from minbert.runtime import RunError
from minbert.tasks import TASKS, Array


@dataclass(frozen=True)
class CellResult:
    """What a finished cell left in its `folder`."""

    folder: Path
    sha256: str
    scores: Mapping[str, float]  # of the best epoch, by task
    seconds: float  # mean of training an epoch
    manifest: Mapping[str, Any]

    @classmethod
    def read(cls, cell: Cell, out: Path) -> CellResult | None:
        """None where the cell has no result. Raises RunError for one that is damaged."""
        folder = cell.folder(out)
        try:
            record = json.loads((folder / RESULT).read_text(encoding="utf-8"))
            manifest = record["manifest"]
            seconds = mean(epoch["train_seconds"] for epoch in manifest["epochs"])
            return cls(folder, record["sha256"], dict(manifest["dev"]), seconds, manifest)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{folder / RESULT}: damaged ({error}); delete {folder}") from error

    @cached_property
    def dev(self) -> Mapping[str, Array]:
        """`{task}_ids`, `{task}_labels` (NaN where there is none) and `{task}_predictions`, (n,).

        Raises RunError where the bytes are not those that the cell wrote.
        """
        path = self.folder / DEV
        if not path.is_file() or files.sha256_of(path) != self.sha256:
            raise RunError(f"{path}: damaged; delete {self.folder} and start the command again")
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)


@dataclass(frozen=True)
class RowResult:
    """A row's finished cells by seed, each with one result a command; seeds in order."""

    row: Row
    cells: Mapping[int, tuple[CellResult, ...]]

    def result(self, seed: int, task: str) -> CellResult:
        """The first command's that scored the task."""
        return next(one for one in self.cells[seed] if task in one.scores)

    def has(self, task: str) -> bool:
        """Whether every seed has a score of the task."""
        return all(any(task in one.scores for one in own) for own in self.cells.values())

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


def gather(experiment: Experiment, cells: Sequence[Cell], out: Path) -> list[RowResult]:
    """Every row with the seeds that all its commands have finished."""
    rows = []
    for row in experiment.rows:
        by_seed: dict[int, list[CellResult | None]] = {}
        for cell in cells:
            if cell.row == row.name:
                by_seed.setdefault(cell.seed, []).append(CellResult.read(cell, out))
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
