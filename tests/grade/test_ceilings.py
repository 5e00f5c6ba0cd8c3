"""Questions are put where luck does not explain a score, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from minbert.grade.ceilings import COURSE_CEILINGS, questions, tail
from minbert.grade.scores import Scores, score
from minbert.tasks.registry import TASKS
from tests.statistics.simulated import correlated, noisy

LABELS = np.random.default_rng(0).integers(0, 5, 1101).astype(float)


def scored(right: float, seed: int = 0) -> dict[str, Scores]:
    return {"sst": score(TASKS["sst"], noisy(LABELS, right, seed).astype(float), LABELS)}


def test_the_tail_is_the_binomial_tests() -> None:
    found = scored(0.63)["sst"]
    right = round(found.score * 1101)
    expected = stats.binomtest(right, 1101, 0.6, alternative="greater").pvalue
    assert tail(found, 0.6) == pytest.approx(expected)


def test_the_tail_of_a_correlation_is_how_often_it_happens() -> None:
    draw = np.random.default_rng(0)
    observed = [stats.pearsonr(*correlated(draw, 0.9, 100)).statistic for _ in range(1500)]
    x, y = correlated(np.random.default_rng(5), 0.92, 100)
    found = score(TASKS["sts"], x, y)
    share = float(np.mean(np.asarray(observed) >= found.score))
    assert tail(found, 0.9) == pytest.approx(share, abs=0.04)


def test_the_ceiling_itself_raises_no_question_and_far_above_does() -> None:
    for seed in range(20):
        assert questions(scored(0.6, seed), COURSE_CEILINGS, 1) == []
    (asked,) = questions(scored(0.9), COURSE_CEILINGS, 300)
    assert asked.task == "sst" and asked.probability < 1e-50


def test_the_larger_the_class_the_rarer_a_question() -> None:
    wrong = np.arange(1101) >= 0.655 * 1101
    found = {"sst": score(TASKS["sst"], np.where(wrong, (LABELS + 1) % 5, LABELS), LABELS)}
    asked = [bool(questions(found, {"sst": 0.6}, count)) for count in (1, 1000)]
    assert asked == [True, False]


def test_it_asks_and_names_ceiling_and_probability() -> None:
    (asked,) = questions(scored(0.9), {"sst": 0.6}, 1)
    text = str(asked)
    assert text.endswith("?") and "0.6" in text and "probability" in text
    assert not any(word in text.lower() for word in ("cheat", "fraud", "copied", "guilty"))


def test_a_task_without_a_ceiling_is_not_asked_about() -> None:
    assert questions(scored(0.99), {"para": 0.9}, 1) == []
