"""Two configurations on the same dev examples: tests of their difference, corrected for many.

Paired tests take the trained models as given and ask whether other dev examples would show the
difference as well. `with_seed_noise` asks whether other seeds would show it, too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from minbert.statistics.intervals import (
    RESAMPLES_AT_ONCE,
    Interval,
    ScoreFunction,
    bootstrap_examples,
)
from minbert.tasks.metrics import pearson
from minbert.tasks.task import Array

_ATANH_MARGIN = 1e-12  # correlations stay this far from 1, where atanh is finite
_DIGITS = 12


@dataclass(frozen=True)
class McNemar:
    """The examples that only the first side has right, those of the second, and the p-value."""

    only_first: int
    only_second: int
    p_value: float


class VarianceEstimate(NamedTuple):
    """A variance that was estimated, and with how many degrees of freedom."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class Steiger:
    """Test statistic, two-sided p-value, and the correlation of the two Fisher-transformed r."""

    z: float
    p_value: float
    correlation: float


def mcnemar(first: Array, second: Array, labels: Array) -> McNemar:
    """McNemar's (1947) test of equal accuracies, exact: predictions and labels (n,).

    It is exact at every size, never by chi-squared: the binomial costs nothing and holds its level
    with few discordant examples too. `paired_permutation` of one seed tends to it, so that two
    tables about the same runs cannot disagree.
    """
    right, other_right = first == labels, second == labels
    only_first = int((right & ~other_right).sum())
    only_second = int((other_right & ~right).sum())
    p_value = mcnemar_p_values(np.asarray(only_first), np.asarray(only_second))
    return McNemar(only_first, only_second, float(p_value))


def mcnemar_p_values(only_first: Array, only_second: Array) -> Array:
    """McNemar's exact p-values from the discordant examples' counts, element by element.

    Under equal accuracies the smaller count is binomial with probability ½: twice its tail.
    """
    tail = stats.binom.cdf(np.minimum(only_first, only_second), only_first + only_second, 0.5)
    return np.minimum(1.0, 2 * tail)


def steiger(first: Array, second: Array, labels: Array) -> Steiger:
    """Test of equal Pearson correlations with the same labels (Dunn & Clark 1969; Steiger 1980).

    With r_1, r_2 the correlations with the labels, r_12 that of the predictions, r̄ = (r_1 + r_2)/2
    pooled in the covariance, as Steiger's equation 14 has it:

        ψ = r_12·(1 - 2r̄²) - r̄²·(1 - 2r̄² - r_12²)/2,     s = ψ / (1 - r̄²)²
        z = (atanh r_1 - atanh r_2)·√(n - 3) / √(2 - 2s)

    Correlations are `metrics.pearson`, so a constant side counts as 0. Raises ValueError for n < 4.
    """
    count = len(labels)
    if count < 4:
        raise ValueError(f"{count} examples: Steiger's test needs at least 4")
    r_1, r_2, r_12 = pearson(first, labels), pearson(second, labels), pearson(first, second)
    z, s = steiger_statistics(np.asarray(r_1), np.asarray(r_2), np.asarray(r_12), count)
    return Steiger(float(z), float(2 * stats.norm.sf(abs(z))), float(s))


def steiger_statistics(r_1: Array, r_2: Array, r_12: Array, count: int) -> tuple[Array, Array]:
    """The z and s of `steiger` from the correlations over `count` examples, element by element.

    z is 0 where there is nothing to tell: r_1 = r_2, predictions that correlate perfectly, n < 4.
    """
    pooled = ((r_1 + r_2) / 2) ** 2
    same = (r_12 >= 1) | (pooled >= 1)
    rest = np.where(same, 1.0, 1 - pooled)
    covariance = r_12 * (1 - 2 * pooled) - pooled * (1 - 2 * pooled - r_12 * r_12) / 2
    bound = 1 - _ATANH_MARGIN
    s = np.minimum(covariance / rest**2, bound)
    difference = np.arctanh(np.clip(r_1, -bound, bound)) - np.arctanh(np.clip(r_2, -bound, bound))
    z = difference * np.sqrt(max(count - 3, 0) / (2 - 2 * s))
    return np.where(same, 0.0, z), np.where(same, 1.0, s)


def mean_difference(metric: ScoreFunction, first: Array, second: Array, labels: Array) -> float:
    """Mean score over the seeds of the first side, minus the second's; predictions (seeds, n)."""
    sides = [[metric(of_seed, labels) for of_seed in side] for side in (first, second)]
    # rounded, so that a permutation that only sums in another order counts as a tie
    return round(float(np.mean(sides[0]) - np.mean(sides[1])), _DIGITS)


def paired_permutation(
    metric: ScoreFunction,
    first: Array,
    second: Array,
    labels: Array,
    rounds: int = 2000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of "both sides predict alike": swap them example by example.

    `first`, `second`: predictions (seeds, n). An example is swapped for all seeds together, since
    its predictions by several seeds are no independent observations (Fisher 1935; for scores of
    predictions Noreen 1989).
    """
    both = np.concatenate([first, second], axis=1)  # (seeds, 2n)

    def difference(one: Array, other: Array) -> float:
        return mean_difference(metric, both[:, one], both[:, other], labels)

    places = np.arange(len(labels))
    result = stats.permutation_test(
        (places, places + len(labels)),
        difference,
        permutation_type="samples",
        vectorized=False,
        n_resamples=rounds,
        batch=RESAMPLES_AT_ONCE,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def paired_bootstrap(
    metric: ScoreFunction,
    first: Array,
    second: Array,
    labels: Array,
    *,
    confidence: float = 0.95,
    rounds: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the difference in mean score (Koehn 2004).

    `first`, `second`: predictions (seeds, n). Both sides and all seeds get the same examples. Where
    0 lies outside, the difference is significant at 1 - confidence.
    """

    def difference(drawn: Array) -> float:
        return mean_difference(metric, first[:, drawn], second[:, drawn], labels[drawn])

    return bootstrap_examples(
        difference, len(labels), confidence=confidence, rounds=rounds, seed=seed
    )


def with_seed_noise(
    difference: float,
    of_examples: Interval,
    of_seeds: Sequence[VarianceEstimate],
    confidence: float = 0.95,
) -> tuple[float, Interval]:
    """Two-sided p-value and interval of a difference over other examples and other seeds alike.

    Its variance is the sum of that of the examples, known from their own interval at this
    confidence (as wide as 2·z standard errors), and of the estimates `of_seeds`: Student's t with
    Satterthwaite's (1946) degrees of freedom, var² / Σ (estimateᵢ² / freedomᵢ). The test is
    a little cautious, since what a seed makes of a single example counts as noise of both.
    """
    quantile = float(stats.norm.ppf((1 + confidence) / 2))
    variances = [estimate.variance for estimate in of_seeds]
    total = ((of_examples.high - of_examples.low) / (2 * quantile)) ** 2 + sum(variances)
    if total == 0:
        return float(difference == 0), Interval(difference, difference)
    known = (estimate for estimate in of_seeds if estimate.variance > 0)
    estimated = sum(estimate.variance**2 / estimate.freedom for estimate in known)
    student = stats.t(total * total / estimated) if estimated > 0 else stats.norm()
    error = total**0.5
    margin = float(student.ppf((1 + confidence) / 2)) * error
    p_value = float(2 * student.sf(abs(difference) / error))
    return p_value, Interval(difference - margin, difference + margin)


def paired_t(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p-value of Student's paired t-test (1908) of equal means, pair by pair.

    Of differences that are all the same it is 1 where they are 0, else 0. Raises ValueError for
    fewer than two pairs, of which nothing is known.
    """
    if len(first) < 2:
        raise ValueError(f"{len(first)} pairs: a t-test needs at least 2")
    difference = np.asarray(first) - np.asarray(second)
    error = float(np.std(difference, ddof=1)) / math.sqrt(len(difference))
    return _two_sided(float(np.mean(difference)), error, len(difference) - 1)


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p-value of Welch's t-test (1947) of equal means, whatever the two variances.

    NaN for fewer than two scores a side. Where neither side scatters it is 1 for equal means, else
    0.
    """
    if min(len(first), len(second)) < 2:
        return math.nan
    parts = [float(np.var(side, ddof=1)) / len(side) for side in (first, second)]
    squares = [part**2 / (len(side) - 1) for part, side in zip(parts, (first, second), strict=True)]
    freedom = sum(parts) ** 2 / sum(squares) if sum(squares) > 0 else math.inf
    return _two_sided(float(np.mean(first) - np.mean(second)), math.sqrt(sum(parts)), freedom)


def _two_sided(difference: float, error: float, freedom: float) -> float:
    """Student's two-sided p-value of a difference; without error it is certain."""
    if error == 0:
        return float(difference == 0)
    return float(2 * stats.t.sf(abs(difference) / error, freedom))


def bartlett(samples: Sequence[Sequence[float]]) -> float | None:
    """The p-value of Bartlett's test (1937) of equal variances; None for fewer than two samples.

    It takes the samples to be normal, and each to have two different values or more.
    """
    return float(stats.bartlett(*samples).pvalue) if len(samples) > 1 else None


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) correction: the smallest p times m, the next times m - 1, never falling."""
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values)[order] * np.arange(len(order), 0, -1)
    corrected = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(p_value) for p_value in corrected[np.argsort(order)]]
