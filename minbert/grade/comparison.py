"""Compare the submissions of a class: who is told apart from whom, and who answered alike.

Matrix products compare all pairs at once. With m submissions of n examples, results are (m, m).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from minbert.statistics.paired_tests import holm, mcnemar_p_values, steiger_statistics
from minbert.tasks.registry import COURSE_TASKS, TASKS
from minbert.tasks.task import Array

LEVEL = 0.05


@dataclass(frozen=True)
class Pairs:
    """One task's comparison of each pair of the m submissions that have it."""

    who: Array  # (m,), their places in the class
    scores: Array  # (m,)
    p_values: Array  # (m, m), of equal scores
    variances: Array  # (m, m), of the difference of two scores over the draw of examples
    agreement: Array  # (m, m), Cohen's kappa or Pearson's r; NaN with a constant side


@dataclass(frozen=True)
class Alike:
    """Two submissions that agree nearly everywhere on the named tasks."""

    first: int
    second: int
    agreement: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """The ranks by task and overall, and how much each pair of a class agrees.

    A rank is 1 plus how many are better beyond chance, None for a submission without the task.
    """

    ranks: Mapping[str, Sequence[int | None]]
    agreement: Array  # (all, all), the mean over the tasks that both have; NaN for none
    alike: Sequence[Alike]


def compare(
    predictions: Sequence[Mapping[str, Array]],
    labels: Mapping[str, Array],
    asked: Sequence[str] = COURSE_TASKS,
) -> Comparison:
    """Compare submissions by their predictions for each task that is asked for, (n,), NaN: none."""
    pairs = {
        name: _pairs(name, predictions, labels[name])
        for name in asked
        if name in labels and any(name in tasks for tasks in predictions)
    }
    count = len(predictions)
    ranks = {
        name: _ranks(count, task.who, task.scores, task.p_values) for name, task in pairs.items()
    }
    if pairs.keys() == set(COURSE_TASKS):
        ranks["overall"] = _overall_ranks(count, pairs)
    return Comparison(ranks, _mean_agreement(count, pairs), _alike(pairs))


def _pairs(name: str, predictions: Sequence[Mapping[str, Array]], labels: Array) -> Pairs:
    known = ~np.isnan(labels)
    who = np.asarray([i for i, tasks in enumerate(predictions) if name in tasks])
    rows = np.stack([predictions[i][name][known] for i in who])  # (m, n)
    if TASKS[name].is_correlation:
        return _correlated(who, rows, labels[known])
    return _classified(who, rows, labels[known])


def _classified(who: Array, rows: Array, labels: Array) -> Pairs:
    count = rows.shape[1]
    right = (rows == labels).astype(np.float32)  # exact: whole numbers below 2^24
    scores = right.mean(axis=1, dtype=np.float64)
    both = (right @ right.T).astype(np.float64)
    only_first = np.diagonal(both)[:, None] - both
    only_second = only_first.T
    difference = (only_first - only_second) / count
    variances = ((only_first + only_second) / count - difference**2) / count
    p_values = mcnemar_p_values(only_first, only_second)
    return Pairs(who, scores, p_values, variances, kappa(rows))


def kappa(rows: Array) -> Array:
    """Return Cohen's (1960) kappa (m, m) of each pair of rows (m, n).

    It is the agreement beyond what the rows' shares of classes make likely. No prediction (NaN) is
    a class of its own. The kappa is NaN where both rows are the same constant.
    """
    count = rows.shape[1]
    observed = np.zeros((len(rows), len(rows)))
    by_chance = np.zeros_like(observed)
    for value in [*np.unique(rows[~np.isnan(rows)]), np.nan]:
        chosen = (np.isnan(rows) if np.isnan(value) else rows == value).astype(np.float32)
        share = chosen.mean(axis=1, dtype=np.float64)
        observed += chosen @ chosen.T / count
        by_chance += np.outer(share, share)
    with np.errstate(invalid="ignore"):
        return np.where(by_chance < 1, (observed - by_chance) / (1 - by_chance), np.nan)


def _correlated(who: Array, rows: Array, labels: Array) -> Pairs:
    count = rows.shape[1]
    everything = np.vstack([_standardized(_filled(rows)), _standardized(labels[None])])
    r = np.clip(everything @ everything.T, -1, 1)  # 0 with a constant side
    with_labels, between = r[:-1, -1], r[:-1, :-1]
    first, second = with_labels[:, None], with_labels[None, :]
    z, _ = steiger_statistics(first, second, between, count)
    varies = np.any(everything[:-1] != 0, axis=1)
    agreement = np.where(np.outer(varies, varies), between, np.nan)
    variances = _difference_variance(first, second, between) / count
    return Pairs(who, with_labels, 2 * stats.norm.sf(np.abs(z)), variances, agreement)


def _difference_variance(first: Array, second: Array, between: Array) -> Array:
    """Return the variance of r_1 - r_2, times n (Steiger 1980, equations 2 and 3)."""
    squares = first**2 + second**2
    covariance = between * (1 - squares) - first * second * (1 - squares - between**2) / 2
    return np.maximum((1 - first**2) ** 2 + (1 - second**2) ** 2 - 2 * covariance, 0.0)


def _filled(rows: Array) -> Array:
    """Fill each row's missing predictions with the row's mean, as the scores do."""
    missing = np.isnan(rows)
    means = np.where(missing, 0.0, rows).sum(axis=1) / np.maximum((~missing).sum(axis=1), 1)
    return np.where(missing, means[:, None], rows)


def _standardized(rows: Array) -> Array:
    """Return the rows with mean 0 and length 1; a constant row becomes 0."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    centred[np.ptp(rows, axis=1) == 0] = 0.0
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(length == 0, 1.0, length)


def _ranks(count: int, who: Array, scores: Array, p_values: Array) -> list[int | None]:
    """Return each rank: 1 plus the number of submissions that are better beyond chance.

    Holm's correction is over all pairs, so with probability 95% nobody in the class is ranked
    below an equal.
    """
    upper = np.triu_indices(len(who), 1)
    corrected = np.ones_like(p_values)
    corrected[upper] = holm(p_values[upper].tolist())
    corrected = np.minimum(corrected, corrected.T)
    better = (scores[None, :] > scores[:, None]) & (corrected < LEVEL)
    ranks: list[int | None] = [None] * count
    for place, beaten in zip(who, better.sum(axis=1), strict=True):
        ranks[place] = 1 + int(beaten)
    return ranks


def _overall_ranks(count: int, pairs: Mapping[str, Pairs]) -> list[int | None]:
    """Rank by the 2024 overall: the paired differences of the tasks add up, as do variances."""
    complete = [i for i in range(count) if all(i in task.who for task in pairs.values())]
    who = np.asarray(complete, dtype=np.int64)
    totals, variances = np.zeros(len(who)), np.zeros((len(who), len(who)))
    for name, task in pairs.items():
        rows = np.searchsorted(task.who, who)
        slope = (TASKS[name].points(1.0) - TASKS[name].points(0.0)) / len(pairs)
        totals += slope * task.scores[rows]
        variances += slope**2 * task.variances[np.ix_(rows, rows)]
    difference = np.abs(totals[:, None] - totals[None, :])
    z = difference / np.sqrt(np.maximum(variances, np.finfo(np.float64).tiny))
    return _ranks(count, who, totals, 2 * stats.norm.sf(z))


def _mean_agreement(count: int, pairs: Mapping[str, Pairs]) -> Array:
    total, tasks = np.zeros((count, count)), np.zeros((count, count))
    for task in pairs.values():
        places = np.ix_(task.who, task.who)
        total[places] += np.nan_to_num(task.agreement)
        tasks[places] += ~np.isnan(task.agreement)
    return np.where(tasks > 0, total / np.maximum(tasks, 1), np.nan)


def _alike(pairs: Mapping[str, Pairs]) -> list[Alike]:
    """Return the pairs above the bound on any task, the closest first."""
    near: dict[tuple[int, int], dict[str, float]] = {}
    for name, task in pairs.items():
        near_identical = np.nan_to_num(task.agreement) >= TASKS[name].near_identical
        for i, j in np.argwhere(np.triu(near_identical, 1)):
            pair = (int(task.who[i]), int(task.who[j]))
            near.setdefault(pair, {})[name] = float(task.agreement[i, j])
    order = sorted(near, key=lambda pair: (-len(near[pair]), -sum(near[pair].values()), pair))
    return [Alike(*pair, near[pair]) for pair in order]
