"""Scores of one submission, each with its 95% interval.

A row that is missing or cannot be read never pays: it counts as wrong in accuracy and F1, and as
the mean of the file's predictions, which says nothing, in the correlations.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from minbert.statistics.intervals import (
    Interval,
    accuracy_interval,
    pearson_interval,
    spearman_interval,
)
from minbert.tasks.metrics import pearson
from minbert.tasks.registry import COURSE_TASKS, TASKS, overall
from minbert.tasks.task import Array, Task

_ROUNDS = 2000


@dataclass(frozen=True)
class Scores:
    """A file's two scores for a task: the one that the course counts, and another beside it.

    They are accuracy and F1 or, of a regression, Pearson's and Spearman's correlation (0 with a
    constant). The confusion (k, k + 1) has a row for each label and a column for each prediction,
    the last one for no prediction. With two classes F1 is that of class 1, otherwise the mean over
    the classes that occur.
    """

    score: float
    interval: Interval
    second: float
    second_interval: Interval
    rows: int  # that are scored
    missing: int  # rows without a prediction
    confusion: Array | None = None  # of a classification


def score_names(task: Task) -> tuple[str, str]:
    """Return the names that outputs give to a task's two scores."""
    if task.is_correlation:
        return "pearson", "spearman"
    return "accuracy", "macro_f1" if task.num_outputs > 2 else "f1"


@dataclass(frozen=True)
class Overall:
    """The overall score by the formula of one course year, with its interval."""

    score: float
    interval: Interval


def score(task: Task, predictions: Array, labels: Array) -> Scores:
    """Score the predictions (n,) of one file against the labels (n,), each NaN where there is none.

    Rows without a label are left out. Raises ValueError where no labelled row has a prediction.
    """
    known = ~np.isnan(labels)
    predictions, labels = predictions[known], labels[known]
    if np.isnan(predictions).all():
        raise ValueError("no prediction of a labelled row")
    if task.is_correlation:
        return _correlations(predictions, labels)
    return _classes(confusion_of(predictions, labels, max(2, task.num_outputs)))


def _correlations(predictions: Array, labels: Array) -> Scores:
    missing = np.isnan(predictions)
    filled = np.where(missing, predictions[~missing].mean(), predictions)
    constant = np.ptp(filled) == 0 or np.ptp(labels) == 0
    return Scores(
        score=pearson(filled, labels),
        interval=pearson_interval(filled, labels),
        second=0.0 if constant else float(stats.spearmanr(filled, labels).statistic),
        second_interval=spearman_interval(filled, labels),
        rows=len(labels),
        missing=int(missing.sum()),
    )


def confusion_of(predictions: Array, labels: Array, classes: int) -> Array:
    """Count labels (rows) by predictions (columns, the last for NaN): (classes, classes + 1)."""
    columns = np.where(np.isnan(predictions), classes, predictions).astype(np.int64)
    cells = labels.astype(np.int64) * (classes + 1) + columns
    return np.bincount(cells, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def _classes(confusion: Array) -> Scores:
    total, right = int(confusion.sum()), int(np.trace(confusion))
    f1 = f1_of_class_one if len(confusion) == 2 else macro_f1
    return Scores(
        score=right / total,
        interval=accuracy_interval(right, total),
        second=float(f1(confusion)),
        second_interval=cell_bootstrap(f1, confusion),
        rows=total,
        missing=int(confusion[:, -1].sum()),
        confusion=confusion,
    )


def _f1_by_class(confusion: Array) -> tuple[Array, Array]:
    """Return each class's F1 and whether it occurs, both (..., k), from (..., k, k + 1) counts."""
    square = confusion[..., :-1]
    right = np.diagonal(square, axis1=-2, axis2=-1)
    occurring = confusion.sum(axis=-1) + square.sum(axis=-2)
    return 2 * right / np.maximum(occurring, 1), occurring > 0


def macro_f1(confusion: Array) -> Array:
    """Return the mean F1 (...) over the classes that occur, from confusions (..., k, k + 1).

    A class occurs if it is a label or a prediction somewhere.
    """
    f1, occurs = _f1_by_class(confusion)
    return f1.sum(axis=-1) / occurs.sum(axis=-1)


def f1_of_class_one(confusion: Array) -> Array:
    """Return the F1 (...) of class 1, or 0 without one, from confusions (..., k, k + 1)."""
    return _f1_by_class(confusion)[0][..., 1]


def cell_bootstrap(metric: Callable[[Array], Array], confusion: Array, seed: int = 0) -> Interval:
    """Return the percentile bootstrap interval (95%) of a metric of the confusion (k, k + 1).

    Drawing n examples with replacement fills the cells multinomially, so the counts are drawn
    instead of the examples: `bootstrap_examples` at a thousandth of its cost.
    """
    total = int(confusion.sum())
    shares = confusion.ravel() / total
    drawn = np.random.default_rng(seed).multinomial(total, shares, size=_ROUNDS)
    low, high = np.quantile(metric(drawn.reshape(_ROUNDS, *confusion.shape)), [0.025, 0.975])
    return Interval(float(low), float(high))


def overall_of(scores: Mapping[str, Scores]) -> dict[str, Overall]:
    """Return the overall score by course year; nothing unless all three tasks are there.

    In 2023 it is the mean of the three scores; in 2024 an r counts as (r + 1) / 2. The tasks'
    examples are independent, so the intervals add up by their squared arms (Zou & Donner 2008,
    "MOVER"): low = total - √Σ(wᵢ(scoreᵢ - lowᵢ))², high likewise.
    """
    if any(name not in scores for name in COURSE_TASKS):
        return {}
    three = {name: scores[name] for name in COURSE_TASKS}
    plain = {name: task.score for name, task in three.items()}
    third = 1 / len(three)
    slopes = {name: third * (TASKS[name].points(1.0) - TASKS[name].points(0.0)) for name in three}
    return {
        "2023": _sum(float(np.mean(list(plain.values()))), three, dict.fromkeys(three, third)),
        "2024": _sum(overall(plain), three, slopes),
    }


def _sum(total: float, scores: Mapping[str, Scores], weights: Mapping[str, float]) -> Overall:
    below = [weights[name] * (task.score - task.interval.low) for name, task in scores.items()]
    above = [weights[name] * (task.interval.high - task.score) for name, task in scores.items()]
    return Overall(total, Interval(total - math.hypot(*below), total + math.hypot(*above)))
