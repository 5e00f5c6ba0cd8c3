"""Statistics of any score: quick formulas equal the slow ones, intervals hold the true score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minbert.experiments.analysis import scoring
from minbert.experiments.grid.columns import Column
from minbert.tasks.glue import GLUE
from minbert.tasks.registry import TASKS, learn


@pytest.fixture(autouse=True)
def known() -> None:
    learn(GLUE[name].definition(name, Path("GLUE")).as_json() for name in ("cola", "mrpc"))


def guesses(seed: int, share: float, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Labels 0 and 1, and predictions of which this share is right."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, count).astype(float)
    return np.where(draw.random(count) < share, labels, 1 - labels), labels


@pytest.mark.parametrize("name", ["cola", "mrpc", "mrpc:F1", "sts"])
def test_quick_scores_are_the_metrics(name: str) -> None:
    column, (predictions, labels) = Column.read(name), guesses(0, 0.7)
    slow = column.metric.score(predictions, labels)
    assert scoring.quick_score(column)(predictions, labels) == pytest.approx(slow, abs=1e-12)


@pytest.mark.parametrize("name", ["cola", "mrpc:F1"])
def test_an_interval_by_bootstrap_is_as_wide_as_scores_of_other_examples_scatter(name: str) -> None:
    column = Column.read(name)
    others = [scoring.quick_score(column)(*guesses(seed, 0.8)) for seed in range(300)]
    low, high = scoring.interval_of_one(column, *guesses(999, 0.8))
    assert (high - low) / (2 * 1.96) == pytest.approx(np.std(others), rel=0.25)
    assert low < np.mean(others) < high


def test_parts_make_the_standard_error() -> None:
    """Of Matthews' correlation, over examples drawn anew."""
    column = Column.read("cola")
    others = [scoring.quick_score(column)(*guesses(seed, 0.8)) for seed in range(300)]
    predictions, labels = guesses(999, 0.8)
    error = scoring.spread(column, 0.6, predictions[None], labels) / np.sqrt(len(labels))
    assert error == pytest.approx(np.std(others), rel=0.2)


def test_rows_that_err_alike_correlate() -> None:
    column, (one, labels) = Column.read("cola"), guesses(0, 0.7)
    other = one.copy()
    other[:10] = 1 - other[:10]
    unlike = np.where(np.random.default_rng(5).random(300) < 0.7, labels, 1 - labels)
    found = [scoring.correlation(column, one[None], o[None], labels) for o in (one, other, unlike)]
    assert found[0] == 1.0 > found[1] > 0.7 > abs(found[2]) + 0.4


def test_a_column_says_what_it_is() -> None:
    headings = {
        "cola": "CoLA Matthews correlation",
        "mrpc:F1": "MRPC F1",
        "mrpc@dev_other": "MRPC other accuracy",
        "mrpc@dev_a+dev_b": "MRPC mean of 2 accuracy",
    }
    assert {name: Column.read(name).heading for name in headings} == headings
    assert Column.read("mrpc@dev_other").keys == ("mrpc@dev_other",)
    assert Column.read("mrpc").keys == ("mrpc",) and "mrpc" in TASKS
    metrics = {"mrpc": {"dev_a": {"accuracy": 0.5}, "dev_b": {"accuracy": 0.7}}}
    assert Column.read("mrpc@dev_a+dev_b").score(metrics) == pytest.approx(0.6)
    assert Column.read("mrpc").score(metrics) is None
