"""Intervals agree with their formulas and cover the truth; the smallest difference is found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from minbert.statistics.intervals import (
    Interval,
    ScoreFunction,
    accuracy_interval,
    accuracy_spread,
    bootstrap_examples,
    correlation_interval,
    minimum_detectable_difference,
    over_seeds,
    pearson_interval,
    pearson_spread,
    quick_pearson,
    spearman_interval,
)
from minbert.tasks.metrics import accuracy, pearson
from minbert.tasks.task import Array
from tests.statistics.simulated import correlated, noisy, share


def covers(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def bootstrap(metric: ScoreFunction, predictions: Array, labels: Array, rounds: int) -> Interval:
    """The interval of a metric, each example drawn with its label."""

    def of_drawn(drawn: Array) -> float:
        return metric(predictions[drawn], labels[drawn])

    return bootstrap_examples(of_drawn, len(labels), confidence=0.95, rounds=rounds, seed=0)


# ---------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize(("correct", "total"), [(0, 20), (7, 20), (20, 20), (567, 1101)])
def test_wilson_solves_its_quadratic(correct: int, total: int) -> None:
    """Its ends are the shares p with |p̂ - p| = z·√(p(1 - p)/n)."""
    z, found = stats.norm.ppf(0.975), correct / total
    for end in accuracy_interval(correct, total):
        assert abs(found - end) == pytest.approx(z * math.sqrt(end * (1 - end) / total), abs=1e-9)


@pytest.mark.parametrize(("correct", "total"), [(1, 0), (3, 2), (-1, 2)])
def test_impossible_counts_are_refused(correct: int, total: int) -> None:
    with pytest.raises(ValueError):
        accuracy_interval(correct, total)


def test_pearson_interval_is_fishers() -> None:
    x, y = correlated(np.random.default_rng(0), 0.8, 200)
    z, margin = np.arctanh(np.corrcoef(x, y)[0, 1]), stats.norm.ppf(0.95) / math.sqrt(197)
    expected = np.tanh([z - margin, z + margin])
    assert pearson_interval(x, y, confidence=0.9) == pytest.approx(expected)


def test_a_correlation_of_constants_or_of_three_examples_is_unknown() -> None:
    x, y = correlated(np.random.default_rng(0), 0.8, 3)
    for interval in (pearson_interval, spearman_interval):
        assert interval(x, y) == (-1, 1)
        assert interval(np.ones(9), np.arange(9.0)) == (-1, 1)


def test_spearman_interval_sees_ranks_only() -> None:
    x, y = correlated(np.random.default_rng(0), 0.8, 100)
    assert spearman_interval(np.exp(x), y**3) == spearman_interval(x, y)
    assert spearman_interval(x, np.exp(x)) == pytest.approx((1, 1))


def test_mean_and_interval_over_seeds_are_the_t_tests() -> None:
    scores = [0.51, 0.52, 0.498, 0.53]
    found, oracle = over_seeds(scores), stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    assert (found.count, found.mean) == (4, pytest.approx(np.mean(scores)))
    assert found.sd == pytest.approx(np.std(scores, ddof=1))
    assert found.interval == pytest.approx((oracle.low, oracle.high))


def test_one_seed_has_no_interval_and_none_no_mean() -> None:
    found = over_seeds([0.5])
    assert found.mean == 0.5
    assert math.isnan(found.sd)
    assert all(map(math.isnan, found.interval))
    with pytest.raises(ValueError):
        over_seeds([])


def test_bootstrap_of_a_mean_is_its_standard_error() -> None:
    """For large n the percentile interval is mean ± 1.96·sd/√n, to three deviations of its ends."""
    values = np.random.default_rng(0).normal(size=2000)
    low, high = bootstrap(lambda x, _: x.mean(), values, values, rounds=4000)
    margin = stats.norm.ppf(0.975) * values.std() / math.sqrt(2000)
    assert (low, high) == pytest.approx((values.mean() - margin, values.mean() + margin), abs=0.003)


def test_bootstrap_keeps_each_example_with_its_label() -> None:
    labels = np.arange(50) % 5
    assert bootstrap(accuracy, labels, labels, rounds=50) == (1, 1)


def test_quick_pearson_is_pearson() -> None:
    x, y = correlated(np.random.default_rng(0), 0.8, 200)
    assert quick_pearson(x, y) == pytest.approx(pearson(x, y), abs=1e-12)
    assert quick_pearson(np.ones(9), np.arange(9.0)) == pearson(np.ones(9), np.arange(9.0)) == 0


# ---------------------------------------------------------------------------------- coverage


def test_wilson_covers() -> None:
    """Exactly: by the probability of each number of right ones, but for those below 1e-7."""
    for p in (0.5, 0.9):
        chances = stats.binom.pmf(np.arange(1102), 1101, p)
        likely = np.flatnonzero(chances > 1e-7)
        found = sum(chances[n] for n in likely if covers(accuracy_interval(int(n), 1101), p))
        assert 0.93 <= found <= 0.97


def test_correlation_intervals_cover() -> None:
    r = 0.8
    rank_r = 6 / math.pi * math.asin(r / 2)  # of a bivariate normal
    for interval, truth in ((pearson_interval, r), (spearman_interval, rank_r)):
        found = share(lambda d, f=interval, t=truth: covers(f(*correlated(d, r, 100)), t))
        assert 0.93 <= found <= 0.97


def test_interval_over_three_seeds_covers() -> None:
    found = share(lambda draw: covers(over_seeds(draw.normal(0.5, 0.01, 3)).interval, 0.5))
    assert 0.93 <= found <= 0.97


@pytest.mark.slow  # 2000 draws of 500 resamples: a minute
@pytest.mark.parametrize("metric", [accuracy, quick_pearson])
def test_bootstrap_covers(metric: ScoreFunction) -> None:
    def happens(draw: np.random.Generator) -> bool:
        if metric is accuracy:
            labels = draw.integers(0, 5, 300)
            data, truth = (noisy(labels, 0.6, int(draw.integers(2**32))), labels), 0.6
        else:
            data, truth = correlated(draw, 0.7, 300), 0.7
        return covers(bootstrap(metric, *data, rounds=500), truth)

    assert 0.93 <= share(happens, 2000) <= 0.97


# ---------------------------------------------------------------------------------- power


def test_minimum_detectable_difference_of_examples_is_the_textbooks() -> None:
    """Two independent groups: (1.96 + 0.84)·√(2p(1-p)/n)."""
    found = minimum_detectable_difference(accuracy_spread(0.5), 1000, 0.0)
    assert found == pytest.approx((1.959964 + 0.841621) * math.sqrt(2 * 0.25 / 1000), rel=1e-5)
    assert minimum_detectable_difference(pearson_spread(0.8), 863, 1.0) == 0


def test_the_minimum_detectable_difference_is_found_four_times_in_five() -> None:
    """Two rows of three seeds whose sd is estimated from them: the t-test's power."""
    smallest = minimum_detectable_difference(0.0, 1, 0.0, seeds=3, seed_sd=1.0, freedom=4)

    def found(draw: np.random.Generator) -> bool:
        first, second = draw.normal(0, 1, 3), draw.normal(smallest, 1, 3)
        return bool(stats.ttest_ind(first, second).pvalue < 0.05)

    assert share(found) == pytest.approx(0.8, abs=0.04)


def test_noise_half_known_has_four_times_the_degrees_of_freedom() -> None:
    """Satterthwaite's (a + b)² / (b² / f) with a = b = 1, and f = 3."""
    smallest = minimum_detectable_difference(1.0, 2, 0.0, seeds=2, seed_sd=1.0, freedom=3)
    quantiles = stats.t.ppf(0.975, 12) + stats.t.ppf(0.8, 12)
    assert smallest == pytest.approx(quantiles * math.sqrt(2))


def test_spreads_are_the_scores_standard_errors() -> None:
    draw = np.random.default_rng(0)
    rs = [pearson(*correlated(draw, 0.7, 400)) for _ in range(2000)]
    assert np.std(rs) == pytest.approx(pearson_spread(0.7) / math.sqrt(400), rel=0.06)
    shares = draw.binomial(400, 0.7, 2000) / 400
    assert np.std(shares) == pytest.approx(accuracy_spread(0.7) / math.sqrt(400), rel=0.06)


def test_more_seeds_more_examples_and_closer_rows_tell_smaller_differences_apart() -> None:
    def smallest(examples: int = 1101, correlation: float = 0.5, seeds: int = 3) -> float:
        return minimum_detectable_difference(
            0.5, examples, correlation, seeds=seeds, seed_sd=0.007, freedom=9 * (seeds - 1)
        )

    assert smallest() > max(smallest(examples=2000), smallest(correlation=0.8), smallest(seeds=9))


@pytest.mark.parametrize(("r", "count"), [(0.3, 5), (-0.8, 40), (0.0, 1500)])
def test_a_correlation_that_is_known_has_the_interval_of_its_data(r: float, count: int) -> None:
    first, second = np.random.default_rng(1).standard_normal((2, count))
    first -= first.mean()
    second -= second.mean()
    second -= (second @ first) / (first @ first) * first  # uncorrelated, to the last bit but a few
    mixed = r * first / np.linalg.norm(first) + math.sqrt(1 - r * r) * second / np.linalg.norm(
        second
    )
    assert correlation_interval(r, count) == pytest.approx(pearson_interval(first, mixed))


def test_a_correlation_of_few_examples_or_without_noise() -> None:
    assert correlation_interval(0.5, 3) == Interval(-1.0, 1.0)
    assert correlation_interval(1.0, 30) == Interval(1.0, 1.0)
