"""How sure a score is: intervals for one score and over seeds, and what a design can tell apart.

Every interval is two-sided, at 95% unless `confidence` says otherwise. `paired_tests.py` compares
two scores.

An interval of one run's score knows the noise of the dev examples only; an interval over seeds
knows the noise of the training only. They answer different questions and are not exchangeable.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from minbert.tasks.task import Array

ScoreFunction = Callable[[Array, Array], float]

# scipy holds a batch of resamples in memory: 100 of 20,000 examples are 16 MB.
RESAMPLES_AT_ONCE = 100


class Interval(NamedTuple):
    """An interval's lower and upper end."""

    low: float
    high: float


UNKNOWN_CORRELATION = Interval(-1.0, 1.0)


@dataclass(frozen=True)
class OverSeeds:
    """A score over seeds; with one seed `sd` and the interval are NaN, since nothing is known."""

    count: int
    mean: float
    sd: float
    interval: Interval


def accuracy_interval(correct: int, total: int, confidence: float = 0.95) -> Interval:
    """Wilson's (1927) score interval of a share, `correct` of `total` examples.

    Unlike mean ± 1.96 standard errors it stays within 0..1 and keeps its coverage near the ends
    (Brown, Cai & DasGupta 2001). Raises ValueError unless 0 <= correct <= total and total >= 1.
    """
    result = stats.binomtest(correct, total)
    return Interval(*map(float, result.proportion_ci(confidence, method="wilson")))


def pearson_interval(predictions: Array, labels: Array, confidence: float = 0.95) -> Interval:
    """Fisher's (1921) interval of Pearson's r: atanh r ± z / √(n - 3), back through tanh.

    It becomes exact for bivariate normal data as n grows. It is [-1, 1] where r is undefined (a
    constant side) or n < 4.
    """
    if not _has_correlation(predictions, labels):
        return UNKNOWN_CORRELATION
    with warnings.catch_warnings():  # nearly constant scores are no error: see `metrics.pearson`
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        result = stats.pearsonr(predictions.astype(np.float64), labels.astype(np.float64))
    return Interval(*map(float, result.confidence_interval(confidence)))


def correlation_interval(r: float, count: int, confidence: float = 0.95) -> Interval:
    """`pearson_interval` of a correlation r that is known, of `count` examples."""
    if count < 4:
        return UNKNOWN_CORRELATION
    if abs(r) >= 1:
        return Interval(r, r)
    margin = float(stats.norm.ppf((1 + confidence) / 2)) / math.sqrt(count - 3)
    return Interval(math.tanh(math.atanh(r) - margin), math.tanh(math.atanh(r) + margin))


def spearman_interval(predictions: Array, labels: Array, confidence: float = 0.95) -> Interval:
    """Interval of Spearman's rank correlation through atanh, variance (1 + r²/2) / (n - 3).

    The variance is Bonett & Wright's (2000): Fisher's 1 / (n - 3) is too small for ranks. The
    interval is [-1, 1] where the correlation is undefined (a constant side) or n < 4.
    """
    if not _has_correlation(predictions, labels):
        return UNKNOWN_CORRELATION
    r = float(stats.spearmanr(predictions, labels).statistic)
    if abs(r) >= 1:
        return Interval(r, r)
    quantile = float(stats.norm.ppf((1 + confidence) / 2))
    margin = quantile * math.sqrt((1 + r * r / 2) / (len(labels) - 3))
    return Interval(math.tanh(math.atanh(r) - margin), math.tanh(math.atanh(r) + margin))


def _has_correlation(predictions: Array, labels: Array) -> bool:
    return len(labels) >= 4 and np.ptp(predictions) > 0 and np.ptp(labels) > 0


def bootstrap_examples(
    statistic: Callable[[Array], float], count: int, *, confidence: float, rounds: int, seed: int
) -> Interval:
    """Percentile bootstrap interval of any statistic (Efron & Tibshirani 1993, chapter 13).

    `rounds` times, `count` examples are drawn with replacement, and `statistic` is called with
    their indices (count,).
    """
    result = stats.bootstrap(
        (np.arange(count),),
        statistic,
        vectorized=False,
        method="percentile",
        confidence_level=confidence,
        n_resamples=rounds,
        batch=RESAMPLES_AT_ONCE,
        rng=np.random.default_rng(seed),
    )
    return Interval(*map(float, result.confidence_interval))


def quick_pearson(predictions: Array, labels: Array) -> float:
    """Pearson's r without scipy's checks, for thousands of resamples; 0 where a side is constant.

    The value is that of `metrics.pearson`.
    """
    x, y = predictions - predictions.mean(), labels - labels.mean()
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale > 0 else 0.0


def over_seeds(scores: Sequence[float] | Array, confidence: float = 0.95) -> OverSeeds:
    """Mean, sd (n - 1), and the interval mean ± t·sd/√n of the mean (Student 1908).

    Raises ValueError where there is no score.
    """
    if len(scores) == 0:
        raise ValueError("no scores")
    count, mean = len(scores), float(np.mean(scores))
    if count == 1:
        return OverSeeds(1, mean, math.nan, Interval(math.nan, math.nan))
    sd = float(np.std(scores, ddof=1))
    margin = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * sd / math.sqrt(count)
    return OverSeeds(count, mean, sd, Interval(mean - margin, mean + margin))


def accuracy_spread(score: float) -> float:
    """Standard deviation of one example's part in an accuracy: √(p(1 - p))."""
    return math.sqrt(score * (1 - score))


def pearson_spread(score: float) -> float:
    """Standard deviation of one example's part in Pearson's r: 1 - r², r's error times √n."""
    return 1 - score * score


def minimum_detectable_difference(
    spread: float,
    examples: int,
    correlation: float,
    *,
    seeds: int = 1,
    seed_sd: float = 0.0,
    freedom: float = math.inf,
    level: float = 0.05,
    power: float = 0.8,
) -> float:
    """The smallest true difference of two rows that a two-sided test finds with this power.

    Two rows, each the mean over `seeds` seeds, on the same dev `examples`:

        se² = 2·(1 - correlation)·spread² / examples + 2·seed_sd² / seeds
        difference = (t_{1 - level/2} + t_{power})·se        (Bloom 1995)

    `spread` is one example's (`accuracy_spread`, `pearson_spread`), `correlation` that of the two
    rows' parts in it (for accuracies of being right, for Pearson's r `Steiger.correlation`),
    `seed_sd` a score's standard deviation over seeds, estimated with `freedom` degrees of freedom
    (rows·(seeds - 1) where pooled over a table, infinite where known). t has the degrees of freedom
    of the sum, by Satterthwaite (1946).
    """
    of_examples = 2 * (1 - correlation) * spread * spread / examples
    of_seeds = 2 * seed_sd * seed_sd / seeds
    variance = of_examples + of_seeds
    effective = freedom * (variance / of_seeds) ** 2 if of_seeds > 0 else math.inf
    quantiles = float(stats.t.ppf(1 - level / 2, effective) + stats.t.ppf(power, effective))
    return quantiles * math.sqrt(variance)
