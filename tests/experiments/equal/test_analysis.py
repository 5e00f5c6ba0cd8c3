"""The analysis is a paired t-test with Holm's correction, and its power is what it prints."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from minbert.experiments.equal.analysis import Contrast, contrasts, noise
from minbert.experiments.equal.arms import ARMS, STANDARD

DRAWS = 10
SD = {"sst": 0.02, "sts": 0.01}


def scores(draw: np.random.Generator, shift: dict[str, float] | None = None) -> dict:
    """Scores that share their draw's luck, which pairing takes away; `shift` moves one arm."""
    luck = {task: draw.normal(0.5, 0.1, DRAWS) for task in SD}
    return {
        arm: {
            task: luck[task]
            + draw.normal(0, sd / math.sqrt(2), DRAWS)
            + ((shift or {}).get(task, 0.0) if arm == "SMART" else 0.0)
            for task, sd in SD.items()
        }
        for arm in ARMS
    }


def of(found: list[Contrast], arm: str, task: str) -> Contrast:
    return next(one for one in found if (one.arm, one.task) == (arm, task))


def test_a_contrast_is_scipys_paired_test() -> None:
    every = scores(np.random.default_rng(0))
    found = contrasts(every)
    assert [(one.arm, one.task) for one in found] == [
        (arm, task) for arm in ARMS if arm != STANDARD for task in SD
    ]
    for one in found:
        ours, standard = every[one.arm][one.task], every[STANDARD][one.task]
        expected = stats.ttest_rel(ours, standard)
        assert one.p_value == pytest.approx(expected.pvalue, rel=1e-9)
        low, high = expected.confidence_interval(0.95)
        assert tuple(one.over.interval) == pytest.approx((low, high), rel=1e-9)
        assert one.over.mean == pytest.approx(float(np.mean(ours) - np.mean(standard)))


def test_all_ten_are_corrected_together() -> None:
    found = contrasts(scores(np.random.default_rng(1)))
    smallest = min(found, key=lambda one: one.p_value)
    assert smallest.corrected == pytest.approx(min(1.0, 10 * smallest.p_value))


def test_luck_of_the_draw_is_no_noise_of_a_difference() -> None:
    every = scores(np.random.default_rng(2))
    for one in noise(every, contrasts(every)):
        assert 0.6 * SD[one.task] < one.difference_sd < 1.6 * SD[one.task]
        assert one.score_sd > 3 * one.difference_sd


def test_the_smallest_difference_is_found_four_times_in_five() -> None:
    """By the test and the correction that are used, with nine further contrasts of no effect."""
    t = stats.t(DRAWS - 1)
    expected = {task: (t.ppf(1 - 0.0025) + t.ppf(0.8)) * sd / DRAWS**0.5 for task, sd in SD.items()}
    draw, hits, printed = np.random.default_rng(3), 0, []
    for _ in range(200):
        every = scores(draw, {"sts": expected["sts"]})
        found = contrasts(every)
        hits += of(found, "SMART", "sts").is_found
        printed.append([one.detectable for one in noise(every, found)])
    assert np.mean(printed, axis=0) == pytest.approx(list(expected.values()), rel=0.05)
    # Student's t at both ends is a little cautious against the noncentral t
    assert 0.71 < hits / 200 < 0.89


def test_nothing_is_found_where_there_is_nothing() -> None:
    """Holm holds the chance of any false find to 5%: of 200 tables, three deviations."""
    draw = np.random.default_rng(4)
    wrong = sum(any(one.is_found for one in contrasts(scores(draw))) for _ in range(200))
    assert wrong <= 200 * 0.05 + 3 * (200 * 0.05 * 0.95) ** 0.5
