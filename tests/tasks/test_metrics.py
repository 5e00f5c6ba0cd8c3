"""Scores against scipy, and the edges scipy leaves undefined."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from minbert.tasks.metrics import (
    ACCURACY,
    PEARSON,
    accuracy,
    is_degenerate,
    of_commonest,
    pearson,
)

RNG = np.random.default_rng(0)
SCORES = RNG.random(200) * 5


def test_accuracy_counts() -> None:
    labels = np.array([0.0, 1, 2, 3, 4, 4])
    assert accuracy(np.array([0, 1, 2, 3, 4, 4]), labels) == 1.0
    assert accuracy(np.array([0, 1, 2, 0, 0, 0]), labels) == 0.5
    assert accuracy(np.array([4, 4, 4, 4, 0, 0]), labels) == 0.0


def test_accuracy_compares_across_number_types() -> None:
    predictions = RNG.integers(0, 5, 300)
    labels = RNG.integers(0, 5, 300)
    expected = sum(p == y for p, y in zip(predictions.tolist(), labels.tolist(), strict=True)) / 300
    assert accuracy(predictions, labels.astype(np.float32)) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("noise", [0.0, 0.1, 1.0, 100.0])
def test_pearson_is_scipys(dtype: type, noise: float) -> None:
    predictions = (SCORES + noise * RNG.normal(size=200)).astype(dtype)
    expected = stats.pearsonr(predictions.astype(np.float64), SCORES).statistic
    assert pearson(predictions, SCORES) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("scale", "shift", "sign"), [(3.0, 7.0, 1), (-0.1, 2.0, -1)])
def test_pearson_ignores_scale_and_shift(scale: float, shift: float, sign: int) -> None:
    r = pearson(scale * SCORES + shift, SCORES)
    assert r == pytest.approx(sign) and -1 <= r <= 1


@pytest.mark.parametrize("constant", [0.0, 2.5, 0.1, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_says_nothing(constant: float, dtype: type) -> None:
    """scipy warns and returns NaN, which no report could print."""
    flat = np.full(200, constant, dtype=dtype)
    assert pearson(flat, SCORES) == 0.0
    assert pearson(SCORES, flat) == 0.0
    assert pearson(flat, flat) == 0.0


def test_predictions_that_hardly_differ_still_score() -> None:
    """Around 2.5, steps of 1e-6 are a few roundings of fp32: their mean must not be in fp32."""
    predictions = (2.5 + 1e-6 * SCORES).astype(np.float32)
    assert len(np.unique(predictions)) > 10
    expected = np.corrcoef(predictions.astype(np.float64), SCORES)[0, 1]
    assert pearson(predictions, SCORES) == pytest.approx(expected, abs=1e-9)
    assert expected > 0.99


@pytest.mark.parametrize("spread", [1e-12, 1e-14, 1e-300])
def test_nearly_constant_predictions_give_a_number(spread: float) -> None:
    r = pearson(2.5 + spread * RNG.normal(size=200), SCORES)
    assert -1 <= r <= 1


@pytest.mark.parametrize("values", [np.array([]), np.array([3.0])], ids=["none", "one"])
def test_fewer_than_two_pairs(values: NDArray[np.float64]) -> None:
    assert pearson(values, values) == 0.0


def test_two_pairs() -> None:
    assert pearson(np.array([1.0, 2.0]), np.array([0.0, 5.0])) == pytest.approx(1.0)


CLASSES = np.array([0.0, 1, 1, 2, 1, 0, np.nan, 2, 1, 0])
VALUES = np.array([0.0, 1.5, 4.0, 2.5, 5.0, 3.0, 2.0, np.nan, 1.0, 0.5])
RIGHT = np.nan_to_num(CLASSES)
ONES = np.ones(10)


@pytest.mark.parametrize(
    ("classes", "values", "expected"),
    [
        (ONES, 5 * ONES, True),  # constants, though one of them is the commonest label
        (ONES, np.where(np.arange(10) % 2, 5.0, np.float32(4.9999995)), True),  # rounding
        (ONES, -np.nan_to_num(VALUES), False),  # one of each kind only
        ((RIGHT + 1) % 3, -np.nan_to_num(VALUES), True),  # below the commonest label on both
        (RIGHT, 5 * ONES, False),
        (RIGHT, np.nan_to_num(VALUES), False),
        (np.where(np.arange(10) < 3, RIGHT, 1), np.nan_to_num(VALUES), False),
        (np.zeros(10), np.zeros(10), True),
    ],
)
def test_a_run_is_degenerate_by_all_of_its_tasks(
    classes: NDArray[np.float64], values: NDArray[np.float64], expected: bool
) -> None:
    both = [(ACCURACY, classes, CLASSES), (PEARSON, values, VALUES)]
    assert is_degenerate(both) is expected
    assert is_degenerate(reversed(both)) is expected
    # a missing prediction changes nothing, nor does a task whose labels are all alike
    missing = np.where(np.arange(10) == 2, np.nan, classes)
    constant = (ACCURACY, RIGHT, np.ones(10))
    assert is_degenerate([(ACCURACY, missing, CLASSES), both[1], constant]) is expected


def test_the_commonest_label_alone() -> None:
    """Of ten labels of which one is missing, four are 1; a constant correlates with nothing."""
    assert of_commonest(ACCURACY, CLASSES) == pytest.approx(4 / 9)
    assert of_commonest(PEARSON, VALUES) == 0.0
    assert of_commonest(ACCURACY, np.array([3.0, np.nan])) == 1.0


def test_without_a_task_to_judge_nothing_is_degenerate() -> None:
    assert not is_degenerate([])
    assert not is_degenerate([(ACCURACY, ONES, ONES), (PEARSON, ONES, np.full(10, np.nan))])
