"""Paired tests agree with scipy's, hold their level, and find what is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from minbert.statistics.intervals import (
    Interval,
    minimum_detectable_difference,
    pearson_spread,
    quick_pearson,
)
from minbert.statistics.paired_tests import (
    VarianceEstimate,
    holm,
    mcnemar,
    mcnemar_p_values,
    mean_difference,
    paired_bootstrap,
    paired_permutation,
    steiger,
    steiger_statistics,
    with_seed_noise,
)
from minbert.tasks.metrics import accuracy, pearson
from tests.statistics.simulated import noisy, share

# ------------------------------------------------------------------------ permutation and Holm


def test_no_difference_gives_p_values_that_are_uniform() -> None:
    """Under the null 5% of tests reject at 5%: 400 of them, three binomial deviations.

    39 rounds and the data are 40 values, of which the two largest are 5%.
    """
    draw = np.random.default_rng(1)
    rejected = 0
    for trial in range(400):
        labels = draw.integers(0, 5, 60)
        first, second = (noisy(labels, 0.6, 1000 * trial + side)[None] for side in (1, 2))
        rejected += paired_permutation(accuracy, first, second, labels, rounds=39) <= 0.05
    assert rejected <= 400 * 0.05 + 3 * (400 * 0.05 * 0.95) ** 0.5


def test_one_seed_of_accuracies_is_mcnemars_exact_test() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 300)
    first, second = noisy(labels, 0.7, 1), noisy(labels, 0.6, 2)
    only_first = int(((first == labels) & (second != labels)).sum())
    only_second = int(((first != labels) & (second == labels)).sum())
    exact = stats.binomtest(only_first, only_first + only_second).pvalue
    ours = paired_permutation(accuracy, first[None], second[None], labels, rounds=5000)
    assert ours == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 5000) ** 0.5 + 1e-3)


def test_a_real_difference_is_found_in_either_metric() -> None:
    draw = np.random.default_rng(0)
    labels = draw.random(400) * 5
    close, far = (labels + draw.normal(0, sd, (3, 400)) for sd in (0.5, 1.0))
    found = paired_permutation(quick_pearson, close, far, labels, rounds=999)
    assert found == pytest.approx(0.002)
    assert paired_permutation(pearson, close, close[::-1], labels, rounds=99) == 1.0


def test_seeds_that_repeat_each_other_prove_nothing_more() -> None:
    """The same predictions three times give the p-value of one seed."""
    labels = np.random.default_rng(0).integers(0, 5, 200)
    first, second = noisy(labels, 0.65, 1)[None], noisy(labels, 0.6, 2)[None]
    once = paired_permutation(accuracy, first, second, labels)
    thrice = paired_permutation(accuracy, first.repeat(3, 0), second.repeat(3, 0), labels)
    assert thrice == pytest.approx(once, abs=0.05)


def test_ties_count_however_the_sums_are_rounded() -> None:
    """Three seeds against a count in integers over all 2^10 ways to swap."""
    labels = np.arange(10) % 5
    sides = np.stack([[noisy(labels, own, 10 * own_seed + int(10 * own)) for own_seed in range(3)]
                      for own in (0.9, 0.6)])  # fmt: skip
    right = (sides == labels).sum(1)  # (2, 10): seeds that are right
    gain = right[0] - right[1]
    signs = 1 - 2 * ((np.arange(2**10)[:, None] >> np.arange(10)) & 1)
    exact = np.mean(np.abs(signs @ gain) >= abs(gain.sum()))
    ours = paired_permutation(accuracy, sides[0], sides[1], labels, rounds=2**10)
    assert ours == pytest.approx(exact)


# -------------------------------------------------------------------------------- other seeds


def test_without_noise_of_the_examples_it_is_students_or_welchs_test() -> None:
    draw = np.random.default_rng(0)
    first, second = draw.normal(0, 1, 3), draw.normal(1, 2, 3)
    difference, none = float(first.mean() - second.mean()), Interval(0.0, 0.0)
    squares = [float(np.var(own, ddof=1)) for own in (first, second)]
    pooled = [VarianceEstimate(2 * float(np.mean(squares)) / 3, 4)]
    apart = [VarianceEstimate(square / 3, 2) for square in squares]
    for parts, equal in ((pooled, True), (apart, False)):
        oracle = stats.ttest_ind(first, second, equal_var=equal)
        p_value, interval = with_seed_noise(difference, none, parts)
        assert p_value == pytest.approx(oracle.pvalue)
        assert interval == pytest.approx(tuple(oracle.confidence_interval(0.95)))


def test_with_both_noises_it_holds_its_level() -> None:
    """True nulls: an error of the examples that is known, one of the seeds from 8 degrees."""

    def rejects(draw: np.random.Generator) -> bool:
        seeds = VarianceEstimate(2 * draw.chisquare(8) / 8 / 3, 8)
        found = draw.normal(0, (2 / 3 + 0.5**2) ** 0.5)
        return with_seed_noise(found, Interval(-0.98, 0.98), [seeds])[0] < 0.05

    assert 0.035 <= share(rejects) <= 0.065


def test_no_noise_at_all_leaves_no_doubt() -> None:
    none, seeds = Interval(0.0, 0.0), [VarianceEstimate(0.0, 4)]
    assert with_seed_noise(0.0, none, seeds) == (1.0, (0.0, 0.0))
    assert with_seed_noise(0.1, none, seeds) == (0.0, (0.1, 0.1))


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == pytest.approx([0.02])


def test_holm_rejects_any_true_null_at_most_at_its_level() -> None:
    """Ten true nulls: some corrected p-value is below .05 in at most 5% of draws."""
    found = share(lambda draw: min(holm(draw.random(10).tolist())) < 0.05)
    assert found <= 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5


# ----------------------------------------------------------------------------------- McNemar


def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs() -> None:
    labels = np.zeros(20, dtype=int)
    first, second = np.repeat([0, 0, 1, 1], [9, 6, 1, 4]), np.repeat([0, 1, 0, 1], [9, 6, 1, 4])
    found = mcnemar(first, second, labels)
    assert (found.only_first, found.only_second) == (6, 1)
    assert found.p_value == pytest.approx(2 * (1 + 7) / 2**7)  # P(X <= 1) of 7 coins, both sides


def test_mcnemar_is_what_the_permutation_test_tends_to() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 300)
    first, second = noisy(labels, 0.7, 1), noisy(labels, 0.64, 2)
    exact = mcnemar(first, second, labels).p_value
    ours = paired_permutation(accuracy, first[None], second[None], labels, rounds=5000)
    assert ours == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 5000) ** 0.5 + 1e-3)


def test_equal_predictions_do_not_differ() -> None:
    labels = np.arange(10) % 5
    assert mcnemar(labels, labels, labels).p_value == 1
    assert steiger(labels + 0.5, labels + 0.5, labels).p_value == 1


# ----------------------------------------------------------------------------------- Steiger


def dependent(draw: np.random.Generator, r_2: float, count: int = 200) -> tuple[np.ndarray, ...]:
    """Labels y, and two predictions: r_1 = .7 and r_2 with y, .6 with each other."""
    covariance = [[1, 0.7, r_2], [0.7, 1, 0.6], [r_2, 0.6, 1]]
    y, first, second = draw.multivariate_normal(np.zeros(3), covariance, count, method="cholesky").T
    return first, second, y


def test_steiger_follows_his_equation_14() -> None:
    """Written out from his equations 3, 13 and 14 in float64."""
    first, second, labels = dependent(np.random.default_rng(0), 0.5)
    (jk, jh), kh = np.corrcoef([labels, first, second])[0, 1:], np.corrcoef(first, second)[0, 1]
    mean = (jk + jh) / 2
    psi = kh * (1 - mean**2 - mean**2) - 0.5 * mean * mean * (1 - mean**2 - mean**2 - kh**2)
    s = psi / ((1 - mean**2) * (1 - mean**2))
    z = math.sqrt(200 - 3) * (math.atanh(jk) - math.atanh(jh)) / math.sqrt(2 - 2 * s)
    found = steiger(first, second, labels)
    assert (found.z, found.correlation) == pytest.approx((z, s))
    assert found.p_value == pytest.approx(2 * stats.norm.cdf(-abs(z)))


def test_steigers_correlation_is_that_of_the_transformed_correlations() -> None:
    """Over many draws, an oracle that knows nothing of the formula."""
    draw = np.random.default_rng(0)
    drawn = [dependent(draw, 0.7) for _ in range(2000)]
    pairs = np.arctanh([[quick_pearson(one, y), quick_pearson(two, y)] for one, two, y in drawn])
    formula = np.mean([steiger(*data).correlation for data in drawn[:200]])
    assert formula == pytest.approx(np.corrcoef(pairs.T)[0, 1], abs=0.05)


def test_steiger_holds_its_level() -> None:
    found = share(lambda draw: steiger(*dependent(draw, 0.7)).p_value < 0.05)
    assert 0.03 <= found <= 0.07


def test_steiger_finds_the_minimum_detectable_difference_four_times_in_five() -> None:
    between = steiger(*dependent(np.random.default_rng(0), 0.66, 100_000)).correlation
    smallest = minimum_detectable_difference(pearson_spread(0.66), 200, between)
    found = share(lambda draw: steiger(*dependent(draw, 0.7 - smallest)).p_value < 0.05)
    assert found == pytest.approx(0.8, abs=0.06)


def test_steiger_at_the_ends() -> None:
    y = np.random.default_rng(0).normal(size=50)
    noise = np.random.default_rng(1).normal(size=50)
    assert steiger(y, noise, y).p_value < 1e-9  # a perfect correlation is finite
    assert steiger(np.ones(50), y, y).p_value < 1e-9  # a constant counts as 0
    assert steiger(np.ones(50), np.zeros(50), y).p_value == 1
    with pytest.raises(ValueError, match="3 examples"):
        steiger(y[:3], y[:3], y[:3])


def test_predictions_on_another_scale_do_not_differ() -> None:
    """Their correlations with the labels differ by rounding only, and that with each other is 1."""
    draw = np.random.default_rng(0)
    labels = draw.normal(size=60)
    for scale in (2.0, 3.0, 0.1, 1 / 3):
        first = labels + draw.normal(size=60)
        assert steiger(first, scale * first + 0.7, labels).p_value > 0.99


def test_many_pairs_at_once_are_the_pairs_one_by_one() -> None:
    draw = np.random.default_rng(0)
    labels = draw.normal(size=80)
    rows = np.stack([labels + draw.normal(0, sd, 80) for sd in (0.5, 0.6, 1, 2, 1e9)])
    together = np.corrcoef(np.vstack([rows, labels]))
    own, other = together[-1, :-1], together[:-1, :-1]
    z, s = steiger_statistics(own[:, None], own[None, :], other, 80)
    counts = draw.integers(0, 40, (2, 5, 5))
    p_values = mcnemar_p_values(*counts)
    for i, j in np.ndindex(5, 5):
        alone = steiger(rows[i], rows[j], labels)
        assert (z[i, j], s[i, j]) == pytest.approx((alone.z, alone.correlation), abs=1e-6)
        one, two = (int(count[i, j]) for count in counts)
        exact = stats.binomtest(one, one + two).pvalue if one + two else 1.0
        assert p_values[i, j] == pytest.approx(exact)


# ---------------------------------------------------------------------------- paired bootstrap


def test_paired_bootstrap_is_narrower_the_closer_the_rows() -> None:
    """Against the textbook variance of a paired difference of means, with two seeds a side."""
    labels = np.random.default_rng(0).integers(0, 5, 1000)
    first = np.stack([noisy(labels, 0.7, 1), noisy(labels, 0.7, 2)])
    second = np.stack([noisy(labels, 0.6, 1), noisy(labels, 0.6, 2)])  # the same draws
    gains = ((first == labels).mean(0) - (second == labels).mean(0)).astype(float)
    margin = stats.norm.ppf(0.975) * gains.std() / math.sqrt(1000)
    low, high = paired_bootstrap(accuracy, first, second, labels)
    assert (low, high) == pytest.approx((gains.mean() - margin, gains.mean() + margin), abs=0.003)
    assert mean_difference(accuracy, first, second, labels) == pytest.approx(gains.mean())
    assert paired_bootstrap(accuracy, first, first, labels, rounds=50) == (0, 0)


@pytest.mark.slow  # 2000 draws of 500 resamples: a minute
def test_paired_bootstrap_covers() -> None:
    def happens(draw: np.random.Generator) -> bool:
        labels = draw.integers(0, 5, 300)
        first, second = (noisy(labels, p, int(draw.integers(2**32)))[None] for p in (0.6, 0.5))
        low, high = paired_bootstrap(accuracy, first, second, labels, rounds=500)
        return low <= 0.1 <= high

    assert 0.93 <= share(happens, 2000) <= 0.97
