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
class ClassScores:
    """Scores of a classification with k classes.

    The confusion (k, k + 1) has a row for each label and a column for each prediction, the last
    one for no prediction. With two classes `f1` is the F1 of class 1, otherwise the mean over the
    classes that occur.
    """

    accuracy: float
    interval: Interval
    f1: float
    f1_interval: Interval
    confusion: Array
    majority: float  # accuracy of always answering the commonest label

    @property
    def score(self) -> float:
        """The accuracy, which is what the course counts."""
        return self.accuracy

    @property
    def missing(self) -> int:
        """Rows without a prediction."""
        return int(self.confusion[:, -1].sum())

    @property
    def rows(self) -> int:
        """Rows that are scored."""
        return int(self.confusion.sum())


@dataclass(frozen=True)
class CorrelationScores:
    """Scores of a regression. A correlation with a constant is 0."""

    pearson: float
    interval: Interval
    spearman: float
    spearman_interval: Interval
    rows: int
    missing: int

    @property
    def score(self) -> float:
        """Pearson's r, which is what the course counts."""
        return self.pearson


Scores = ClassScores | CorrelationScores


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
    given = ~np.isnan(predictions)
    if not given.any():
        raise ValueError("no prediction of a labelled row")
    if task.metric is pearson:
        filled = np.where(given, predictions, predictions[given].mean())
        return _correlations(filled, labels, missing=int((~given).sum()))
    return _classes(confusion_of(predictions, labels, max(2, task.num_outputs)))


def _correlations(predictions: Array, labels: Array, missing: int) -> CorrelationScores:
    constant = np.ptp(predictions) == 0 or np.ptp(labels) == 0
    return CorrelationScores(
        pearson=pearson(predictions, labels),
        interval=pearson_interval(predictions, labels),
        spearman=0.0 if constant else float(stats.spearmanr(predictions, labels).statistic),
        spearman_interval=spearman_interval(predictions, labels),
        rows=len(labels),
        missing=missing,
    )


def confusion_of(predictions: Array, labels: Array, classes: int) -> Array:
    """Count labels (rows) by predictions (columns, the last for NaN): (classes, classes + 1)."""
    columns = np.where(np.isnan(predictions), classes, predictions).astype(np.int64)
    cells = labels.astype(np.int64) * (classes + 1) + columns
    return np.bincount(cells, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def _classes(confusion: Array) -> ClassScores:
    total = int(confusion.sum())
    right = int(np.trace(confusion))
    f1 = f1_of_class_one if len(confusion) == 2 else macro_f1
    return ClassScores(
        accuracy=right / total,
        interval=accuracy_interval(right, total),
        f1=float(f1(confusion)),
        f1_interval=cell_bootstrap(f1, confusion),
        confusion=confusion,
        majority=float(confusion.sum(axis=1).max() / total),
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
    plain = {name: three[name].score for name in three}
    third = 1 / len(three)
    slopes = {name: TASKS[name].points(1.0) - TASKS[name].points(0.0) for name in three}
    weights = {name: third * slope for name, slope in slopes.items()}
    mean, points = float(np.mean(list(plain.values()))), overall(plain)
    return {
        "2023": Overall(mean, _arms(mean, three, dict.fromkeys(three, third))),
        "2024": Overall(points, _arms(points, three, weights)),
    }


def _arms(total: float, scores: Mapping[str, Scores], weights: Mapping[str, float]) -> Interval:
    below = [weights[name] * (task.score - task.interval.low) for name, task in scores.items()]
    above = [weights[name] * (task.interval.high - task.score) for name, task in scores.items()]
    return Interval(total - math.hypot(*below), total + math.hypot(*above))
