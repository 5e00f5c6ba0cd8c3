"""What a table's statistics need of a score: a formula, an interval, an example's part.

Accuracy and Pearson's r have formulas of their own. Any other score (F1, Matthews' correlation, a
mean over dev files) has its interval by bootstrap, and an example's part in it by the jackknife.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from minbert.experiments.grid.columns import Column
from minbert.statistics import intervals, paired_tests
from minbert.statistics.intervals import Interval, ScoreFunction
from minbert.tasks import metrics
from minbert.tasks.metrics import F1, MATTHEWS, PEARSON
from minbert.tasks.task import Array

_ROUNDS = 2000


def is_pearson(column: Column) -> bool:
    """Whether it is Pearson's r on one dev file."""
    return column.metric == PEARSON and not column.is_mean


def quick_score(column: Column) -> ScoreFunction:
    """The score of predictions (n,) and labels (n,), made for thousands of resamples."""
    if column.is_mean:
        return _mean_share
    if column.is_accuracy:
        return metrics.accuracy
    two_classes = len(column.task.classes) == 2
    # Matthews' correlation of two classes is Pearson's r of their numbers 0 and 1 (Matthews 1975)
    if is_pearson(column) or (column.metric == MATTHEWS and two_classes):
        return intervals.quick_pearson
    return _quick_f1 if column.metric == F1 else column.metric.score


def _quick_f1(predictions: Array, labels: Array) -> float:
    """F1 of class 1 without the library's checks: 2·hits / (predicted + true); 0 of nothing."""
    of_class = float(predictions.sum() + labels.sum())
    return 2 * float((predictions * labels).sum()) / of_class if of_class else 0.0


def _mean_share(predictions: Array, _labels: Array) -> float:
    return float(np.mean(predictions))


def interval_of_one(column: Column, predictions: Array, labels: Array) -> Interval:
    """The 95% interval over dev examples: Wilson's, Fisher's, or by bootstrap."""
    if column.is_accuracy:
        return intervals.accuracy_interval(int((predictions == labels).sum()), len(labels))
    if is_pearson(column):
        return intervals.pearson_interval(predictions, labels)
    score = quick_score(column)
    return intervals.bootstrap_examples(
        lambda drawn: score(predictions[drawn], labels[drawn]),
        len(labels),
        confidence=0.95,
        rounds=_ROUNDS,
        seed=0,
    )


def spread(column: Column, middle: float, predictions: Array, labels: Array) -> float:
    """The standard deviation of one example's part in a score of about `middle`.

    `predictions` (seeds, n) are those of a typical row, for a score that has no formula.
    """
    if column.is_accuracy:
        return intervals.accuracy_spread(middle)
    if is_pearson(column):
        return intervals.pearson_spread(middle)
    return float(_parts(column, predictions, labels).std())


def correlation(column: Column, first: Array, second: Array, labels: Array) -> float:
    """The correlation of two rows' parts in the score, averaged over the seeds before."""
    if np.array_equal(first, second):
        return 1.0
    if len(labels) < 4:  # Steiger's needs as many
        return 0.0
    if is_pearson(column):
        return paired_tests.steiger(first.mean(0), second.mean(0), labels).correlation
    of = _right if column.is_accuracy else partial(_parts, column)
    parts, other_parts = of(first, labels), of(second, labels)
    if np.ptp(parts) == 0 or np.ptp(other_parts) == 0:
        return 0.0
    return float(np.corrcoef(parts, other_parts)[0, 1])


def _right(predictions: Array, labels: Array) -> Array:
    return np.asarray((predictions == labels).mean(0))


def _parts(column: Column, predictions: Array, labels: Array) -> Array:
    """Each example's part in the score, (n,), averaged over the seeds, by the jackknife.

    It is n times what leaving the example out takes from the score, so that the parts' standard
    deviation over √n is the score's standard error (Efron & Tibshirani 1993, chapter 11).
    """
    return np.mean([_of_seed(quick_score(column), one, labels) for one in predictions], axis=0)


def _of_seed(score: ScoreFunction, predictions: Array, labels: Array) -> Sequence[float]:
    count, whole = len(labels), score(predictions, labels)
    left_out = (np.arange(count) != place for place in range(count))
    return [count * (whole - score(predictions[rest], labels[rest])) for rest in left_out]
