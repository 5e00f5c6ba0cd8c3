"""Tests of a few scores a side are their formulas: paired, of unequal variances, of variances."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from minbert.statistics.paired_tests import bartlett, paired_t, welch


def t_by_hand(difference: float, error: float, freedom: float) -> float:
    return float(2 * stats.t(freedom).sf(abs(difference) / error))


def test_a_paired_test_is_students_formula() -> None:
    first, second = np.random.default_rng(0).normal(0, 1, (2, 7))
    apart = first - second
    expected = t_by_hand(apart.mean(), apart.std(ddof=1) / 7**0.5, 6)
    assert paired_t(first, second) == pytest.approx(expected, rel=1e-9)
    assert paired_t(second, first) == pytest.approx(expected, rel=1e-9)
    assert paired_t(first + 5, second + 5) == pytest.approx(expected, rel=1e-6)


def test_differences_that_never_change_are_certain() -> None:
    assert paired_t([1.0, 2.0], [1.0, 2.0]) == 1.0
    assert paired_t([1.5, 2.5], [1.0, 2.0]) == 0.0
    with pytest.raises(ValueError, match="1 pairs"):
        paired_t([1.0], [2.0])


def test_welchs_test_is_its_formula() -> None:
    first, second = [0.1, 0.4, 0.3, 0.9], [0.2, 0.21, 0.22]
    parts = [float(np.var(side, ddof=1)) / len(side) for side in (first, second)]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 3 + parts[1] ** 2 / 2)
    expected = t_by_hand(float(np.mean(first) - np.mean(second)), sum(parts) ** 0.5, freedom)
    assert welch(first, second) == pytest.approx(expected, rel=1e-9)


def test_both_tests_are_scipys() -> None:
    draw = np.random.default_rng(5)
    for count in (2, 3, 10):
        first, second = draw.normal(0, 1, (2, count))
        paired = stats.ttest_rel(first, second).pvalue
        assert paired_t(first, second) == pytest.approx(paired, rel=1e-9)
        apart = stats.ttest_ind(first, second, equal_var=False).pvalue
        assert welch(first, second) == pytest.approx(apart, rel=1e-9)


def test_one_side_that_does_not_scatter_is_no_noise() -> None:
    """Student's t of the other side alone, against a constant."""
    scores = [0.2, 0.3, 0.7]
    expected = stats.ttest_1samp(scores, 0.5).pvalue
    assert welch(scores, [0.5, 0.5, 0.5]) == pytest.approx(expected, rel=1e-9)


def test_welchs_test_of_what_does_not_scatter() -> None:
    assert math.isnan(welch([0.5], [0.4]))
    assert (welch([0.5, 0.5], [0.5, 0.5]), welch([0.5, 0.5], [0.4, 0.4])) == (1.0, 0.0)


def test_unequal_variances_are_found() -> None:
    draw = np.random.default_rng(2)
    same = [draw.normal(0, 1, 20) for _ in range(4)]
    assert bartlett([*same, draw.normal(0, 9, 20)]) < 1e-6
    assert bartlett(same) > 0.01
    assert bartlett(same[:1]) is None
