"""Finished cells read back: dev scores, predictions and seconds, gathered by row."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from minbert.experiments.grid.cells import DEV, RESULT, Cell
from minbert.experiments.grid.columns import Column
from minbert.experiments.grid.experiment import Experiment, GridRow
from minbert.finetune.config import RunConfig
from minbert.support import durable_files, untrusted
from minbert.support.errors import InputError, RunError
from minbert.tasks.task import Array

_Scored = tuple[Array, Array, Array]  # ids, labels and predictions, (n,) each


@dataclass(frozen=True)
class CellResult:
    """The files and figures that a finished cell left in its `folder`."""

    folder: Path
    scores: Mapping[str, float]  # of the best epoch, by task
    seconds: float  # mean of training an epoch
    manifest: Mapping[str, Any]

    @classmethod
    def read(cls, cell: Cell, out: Path) -> CellResult | None:
        """Read the cell's result; None where it has none.

        Raises RunError where the result is damaged, or the predictions are not what it wrote.
        """
        folder = cell.folder(out)
        if not os.path.lexists(folder / RESULT):  # a link that leads nowhere is in the way
            return None
        try:
            record = untrusted.read_object(folder / RESULT)
            manifest = record["manifest"]
            scores = {task: float(score) for task, score in manifest["dev"].items()}
            seconds = mean(epoch["train_seconds"] for epoch in manifest["epochs"])
            _ = manifest["config"]["tasks"], manifest["config"]["rrobin"]
            whole = durable_files.sha256_of(folder / DEV) == record["sha256"]
        except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{folder / RESULT}: damaged ({error}); delete {folder}") from error
        if not whole:
            raise RunError(f"{folder / DEV}: damaged; delete {folder}")
        return cls(folder, scores, seconds, manifest)

    def score(self, name: str) -> float | None:
        """The score that a column's word names (`columns.py`); None where the run has none."""
        if name in self.scores:
            return self.scores[name]
        return Column.read(name).score(self.manifest.get("metrics", {}))

    @property
    def seconds_to_best(self) -> float:
        """Seconds of training to the best epoch's end, without scoring; NaN where unknown."""
        epochs, best = self.manifest["epochs"], self.manifest.get("best_epoch")
        if best is None:
            return math.nan
        return float(sum(e["train_seconds"] for e in epochs if e["epoch"] <= best))

    @cached_property
    def dev(self) -> Mapping[str, Array]:
        """The arrays `{task}_ids`, `{task}_labels` (NaN: unknown), `{task}_predictions`, (n,).

        Those of a further dev file begin with `{task}@{split}`.
        """
        with np.load(self.folder / DEV, allow_pickle=False) as arrays:
            return dict(arrays)


@dataclass(frozen=True)
class RowResult:
    """A row's finished cells by seed, in order, with one result for each command."""

    row: GridRow
    cells: Mapping[int, tuple[CellResult, ...]]

    def result(self, seed: int, task: str) -> CellResult:
        """The result of the first command that scored the task."""
        return next(cell for cell in self.cells[seed] if cell.score(task) is not None)

    def all_cells(self) -> Iterator[CellResult]:
        """The results of all seeds and commands."""
        return chain.from_iterable(self.cells.values())

    def has(self, task: str) -> bool:
        """Whether every seed has a score of the task."""
        of_seeds = self.cells.values()
        return all(any(cell.score(task) is not None for cell in cells) for cells in of_seeds)

    def trains(self, task: str) -> bool:
        """Whether the row trains on batches of the task."""
        trained = Column.read(task).task.name
        return all(_trains(self.result(seed, task).manifest, trained) for seed in self.cells)

    def scores(self, task: str) -> list[float]:
        """A dev score for each seed."""
        return [self.score(seed, task) for seed in self.cells]

    def score(self, seed: int, task: str) -> float:
        """The dev score of one seed."""
        found = (cell.score(task) for cell in self.cells[seed])
        return next(score for score in found if score is not None)

    def seconds(self) -> list[float]:
        """Seconds of training an epoch for each seed, of all commands together."""
        return [sum(cell.seconds for cell in cells) for cells in self.cells.values()]

    def predictions(self, task: str, seeds: Sequence[int] = ()) -> tuple[Array, Array]:
        """Predictions (seeds, n) and labels (n,) of the dev examples that have a label.

        They are those of all seeds where none is named. For the mean over several dev files a
        prediction is the share of the files in which the example is right, and its label is 1.
        """
        runs = [self._known(seed, task) for seed in seeds or self.cells]
        return np.stack([predictions for _, _, predictions in runs]), runs[0][1]

    def examples(self, task: str) -> tuple[Array, Array]:
        """Ids and labels of the dev examples that have a label, each (n,)."""
        ids, labels, _ = self._known(next(iter(self.cells)), task)
        return ids, labels

    def _known(self, seed: int, task: str) -> _Scored:
        """The examples that have a label, with their predictions."""
        dev, column = self.result(seed, task).dev, Column.read(task)
        files = [_labelled(dev, key) for key in column.keys]
        return _shares(files) if column.is_mean else files[0]

    def has_examples_of(self, other: RowResult, task: str) -> bool:
        """Whether both were scored on the same dev examples, in the same order."""
        pairs = zip(self.examples(task), other.examples(task), strict=True)
        return all(np.array_equal(ours, theirs) for ours, theirs in pairs)


def _labelled(dev: Mapping[str, Array], key: str) -> _Scored:
    known = ~np.isnan(dev[f"{key}_labels"])
    ids, labels, predictions = (dev[f"{key}_{what}"] for what in ("ids", "labels", "predictions"))
    return ids[known], labels[known], predictions[known]


def _shares(files: Sequence[_Scored]) -> _Scored:
    """The examples that all files have, by id, and the share of the files that has each right."""
    right = [dict(zip(ids, labels == answers, strict=True)) for ids, labels, answers in files]
    ids = [one for one in right[0] if all(one in other for other in right)]
    shares = np.mean([[of_file[one] for one in ids] for of_file in right], axis=0)
    return np.asarray(ids), np.ones(len(ids)), shares


def _trains(manifest: Mapping[str, Any], task: str) -> bool:
    config = manifest["config"]
    tasks = config["tasks"] and tuple(config["tasks"])
    own = config.get("task_file")
    return task in RunConfig(tasks=tasks, rrobin=config["rrobin"], task_file=own).trained_tasks


def gather(
    experiment: Experiment, cells: Sequence[Cell], results: Mapping[str, CellResult]
) -> list[RowResult]:
    """Every row with the seeds for which `results` (by key) has all of its commands."""
    keys: defaultdict[str, dict[int, list[str]]] = defaultdict(dict)
    for cell in cells:
        keys[cell.row].setdefault(cell.seed, []).append(cell.key)
    return [
        RowResult(
            row,
            {
                seed: tuple(results[key] for key in of_seed)
                for seed, of_seed in keys[row.name].items()
                if results.keys() >= set(of_seed)
            },
        )
        for row in experiment.rows
    ]
