"""Scores equal scikit-learn's and scipy's; intervals cover; a row left out never pays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from minbert.grade import scores as scores_module
from minbert.grade.scores import (
    cell_bootstrap,
    confusion_of,
    f1_of_class_one,
    macro_f1,
    overall_of,
    score,
)
from minbert.statistics.intervals import (
    accuracy_interval,
    bootstrap_examples,
    pearson_interval,
    spearman_interval,
)
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Array
from tests.statistics.simulated import share


def arrays(task: str, seed: int, count: int = 300, skill: float = 0.5) -> tuple[Array, Array]:
    draw = np.random.default_rng(seed)
    if task == "sts":
        labels = draw.random(count) * 5
        return np.clip(labels + draw.normal(0, 1 / skill, count), 0, 5).round(1), labels.round(1)
    classes = max(2, TASKS[task].num_outputs)
    labels = draw.integers(0, classes, count).astype(float)
    anything = draw.integers(0, classes, count)
    return np.where(draw.random(count) < skill, labels, anything).astype(float), labels


@pytest.mark.parametrize("task", ["sst", "para", "cfimdb"])
@pytest.mark.parametrize("seed", range(4))
def test_class_scores_are_scikit_learns(task: str, seed: int) -> None:
    predictions, labels = arrays(task, seed, count=[300, 7, 2, 40][seed])
    found = score(TASKS[task], predictions, labels)
    assert found.score == pytest.approx(metrics.accuracy_score(labels, predictions))
    average = "macro" if task == "sst" else "binary"
    f1 = metrics.f1_score(labels, predictions, average=average, zero_division=0)
    assert found.second == pytest.approx(f1)
    classes = range(5 if task == "sst" else 2)
    expected = metrics.confusion_matrix(labels, predictions, labels=classes)
    assert found.confusion is not None
    np.testing.assert_array_equal(found.confusion[:, :-1], expected)
    assert (found.rows, found.missing) == (len(labels), 0)
    right = int((predictions == labels).sum())
    assert found.interval == accuracy_interval(right, len(labels))


@pytest.mark.parametrize("seed", range(4))
def test_correlations_are_scipys(seed: int) -> None:
    predictions, labels = arrays("sts", seed)
    found = score(TASKS["sts"], predictions, labels)
    assert found.score == pytest.approx(stats.pearsonr(predictions, labels).statistic)
    assert found.second == pytest.approx(stats.spearmanr(predictions, labels).statistic)
    assert found.interval == pearson_interval(predictions, labels)
    assert found.second_interval == spearman_interval(predictions, labels)


def test_unlabelled_rows_are_left_out() -> None:
    for task in ("sst", "sts"):
        predictions, labels = arrays(task, 0)
        hidden = np.where(np.arange(300) % 7 == 0, np.nan, labels)
        known = ~np.isnan(hidden)
        whole, part = (
            score(TASKS[task], predictions, hidden),
            score(TASKS[task], predictions[known], labels[known]),
        )
        assert (whole.score, whole.interval, whole.rows) == (part.score, part.interval, part.rows)


@pytest.mark.parametrize("task", ["sst", "para"])
def test_a_missing_prediction_counts_as_wrong(task: str) -> None:
    predictions, labels = arrays(task, 0)
    holes = np.where(np.arange(300) % 5 == 0, np.nan, predictions)
    found = score(TASKS[task], holes, labels)
    assert found.score == pytest.approx(np.mean(holes == labels))
    assert (found.missing, found.rows) == (60, 300)
    filled = np.nan_to_num(holes, nan=-1)  # a class that is never right
    expected = metrics.f1_score(
        labels, filled, average="macro" if task == "sst" else None, labels=np.unique(labels)
    )
    assert found.second == pytest.approx(expected if task == "sst" else expected[1])


def test_a_missing_similarity_says_nothing() -> None:
    predictions, labels = arrays("sts", 0)
    holes = np.where(np.arange(300) % 5 == 0, np.nan, predictions)
    filled = np.where(np.isnan(holes), np.nanmean(holes), holes)
    found = score(TASKS["sts"], holes, labels)
    assert found.score == pytest.approx(stats.pearsonr(filled, labels).statistic)
    assert found.missing == 60
    nearly_nothing = np.full(300, np.nan)
    nearly_nothing[:2] = labels[:2]  # two right rows alone would be a perfect correlation
    assert score(TASKS["sts"], nearly_nothing, labels).score < 0.3


def test_ends() -> None:
    labels = np.asarray([0.0, 1, 2, 3, 4, 0])
    assert score(TASKS["sst"], labels, labels).score == 1
    assert score(TASKS["sst"], (labels + 1) % 5, labels).interval.low >= 0
    constant = score(TASKS["sts"], np.full(6, 2.0), labels)
    assert (constant.score, constant.second) == (0, 0)
    with pytest.raises(ValueError, match="no prediction"):
        score(TASKS["sst"], np.full(6, np.nan), labels)


# ------------------------------------------------------------------------------------- intervals


METRICS = {"sst": macro_f1, "para": f1_of_class_one}


@pytest.mark.parametrize("task", METRICS)
def test_the_bootstrap_of_cells_is_that_of_examples(task: str) -> None:
    predictions, labels = arrays(task, 0)
    classes = 5 if task == "sst" else 2

    def f1(drawn: Array) -> float:
        return float(METRICS[task](confusion_of(predictions[drawn], labels[drawn], classes)))

    ours = cell_bootstrap(METRICS[task], confusion_of(predictions, labels, classes))
    theirs = bootstrap_examples(f1, len(labels), confidence=0.95, rounds=2000, seed=0)
    np.testing.assert_allclose(ours, theirs, atol=0.006)


DRAWS = pytest.mark.parametrize("draws", [150, pytest.param(2000, marks=pytest.mark.slow)])


def near_95(draws: int) -> object:
    """The share that intervals should cover, three binomial deviations and half a point about."""
    return pytest.approx(0.95, abs=0.005 + 3 * (0.95 * 0.05 / draws) ** 0.5)


@DRAWS
@pytest.mark.parametrize("task", METRICS)
def test_f1_intervals_cover(task: str, draws: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """95% of them, with 400 examples drawn from a world of 20,000."""
    monkeypatch.setattr(scores_module, "_ROUNDS", 400)
    classes = 5 if task == "sst" else 2
    world = confusion_of(*arrays(task, 1, count=20_000, skill=0.6), classes)
    truth = METRICS[task](world)

    def covered(draw: np.random.Generator) -> bool:
        drawn = draw.multinomial(400, world.ravel() / world.sum()).reshape(world.shape)
        low, high = cell_bootstrap(METRICS[task], drawn)
        return bool(low <= truth <= high)

    assert share(covered, draws) == near_95(draws)


@DRAWS
def test_overall_intervals_cover(draws: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores_module, "_ROUNDS", 2)  # F1 is not asked for here
    worlds = {task: arrays(task, 2, count=20_000, skill=0.7) for task in ("sst", "para", "sts")}
    truth = overall_of({task: score(TASKS[task], *world) for task, world in worlds.items()})

    def covered(draw: np.random.Generator) -> tuple[bool, bool]:
        rows = {task: draw.integers(0, 20_000, 250) for task in worlds}
        drawn = {
            task: score(TASKS[task], predictions[rows[task]], labels[rows[task]])
            for task, (predictions, labels) in worlds.items()
        }
        first, second = (overall_of(drawn)[year].interval for year in ("2023", "2024"))
        return (
            first.low <= truth["2023"].score <= first.high,
            second.low <= truth["2024"].score <= second.high,
        )

    draw = np.random.default_rng(0)
    hits = np.asarray([covered(draw) for _ in range(draws)])
    assert [*hits.mean(axis=0)] == [near_95(draws)] * 2


def test_overall_follows_the_handouts() -> None:
    scores = {task: score(TASKS[task], *arrays(task, 3)) for task in ("sst", "para", "sts")}
    overall = overall_of(scores)
    sst, para, sts = (scores[task].score for task in ("sst", "para", "sts"))
    assert overall["2023"].score == pytest.approx((sst + para + sts) / 3)
    assert overall["2024"].score == pytest.approx((sst + para + (sts + 1) / 2) / 3)
    below = [task.score - task.interval.low for task in scores.values()]
    above = [task.interval.high - task.score for task in scores.values()]
    for year, third in (("2023", [1, 1, 1]), ("2024", [1, 1, 0.5])):
        total, interval, weights = overall[year].score, overall[year].interval, np.divide(third, 3)
        assert interval.low == pytest.approx(total - np.linalg.norm(weights * below))
        assert interval.high == pytest.approx(total + np.linalg.norm(weights * above))
    assert overall_of({"sst": scores["sst"], "sts": scores["sts"]}) == {}
