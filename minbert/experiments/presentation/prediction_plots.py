"""Plots of what a grid's rows predicted on dev: which classes for which, and which values."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from minbert.experiments.analysis.analysis import Analysis
from minbert.experiments.grid.columns import decisive
from minbert.experiments.grid.results import RowResult
from minbert.reports.picture import Picture
from minbert.reports.predictions import confusion_picture, counts_of, values_picture
from minbert.tasks.metrics import pearson
from minbert.tasks.registry import TASKS, TITLES
from minbert.tasks.task import Array


def _by_row(
    analysis: Analysis,
    tasks: Sequence[str],
    kind: str,
    title: str,
    make: Callable[[str, str, str, RowResult, str], Picture],
) -> Iterator[Picture]:
    """A picture for each task and finished row: `make` is given its name, title and heading."""
    for task in tasks:
        for number, result in enumerate(analysis.rows, start=1):
            if result.cells:
                name = f"{analysis.experiment.name}-{kind}-{task}-{number}"
                heading = f"{number} {result.row.name}"
                yield make(name, f"{heading}: {TITLES[task]} {title}", heading, result, task)


def confusion(result: RowResult, task: str) -> Array:
    """Counts of each label (rows) predicted as each class (columns), over all seeds.

    Their sum is the number of dev examples with a label, times the number of seeds.
    """
    return counts_of(*result.predictions(task), TASKS[task].num_outputs)


def confusions(analysis: Analysis) -> Iterator[Picture]:
    """A picture for each row and each task of more than two classes."""

    def make(name: str, title: str, heading: str, result: RowResult, task: str) -> Picture:
        counts = confusion(result, task)
        return confusion_picture(name, title, heading, counts, list(map(str, range(len(counts)))))

    names = decisive(analysis.experiment.tasks)
    tasks = [task for task in names if TASKS[task].num_outputs > 2]
    return _by_row(analysis, tasks, "confusion", "labels and predictions", make)


def values(analysis: Analysis) -> Iterator[Picture]:
    """A picture for each row and each task with a scale: predicted values over true ones."""

    def make(name: str, title: str, heading: str, result: RowResult, task: str) -> Picture:
        predictions, labels = result.predictions(task)
        r = float(np.mean([pearson(of_seed, labels) for of_seed in predictions]))
        return values_picture(name, title, heading, predictions, labels, r)

    names = decisive(analysis.experiment.tasks)
    tasks = [task for task in names if not TASKS[task].classes]
    return _by_row(analysis, tasks, "values", "predicted and true", make)
