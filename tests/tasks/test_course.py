"""The table of tasks: labels, decoding, points, and that a new task is one entry."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from minbert.tasks import heads, losses, metrics
from minbert.tasks.registry import TASKS, overall

NAMES = pytest.mark.parametrize("name", TASKS)
LABELS: dict[str, tuple[list[str], list[str]]] = {  # accepted, refused
    "sst": (["0", "1", "4", "3.0"], ["5", "-1", "2.5", "", "good", "nan", "inf", "1e400"]),
    "cfimdb": (["0", "1", "1.0"], ["2", "-1", "0.5", "", "None", "nan"]),
    "para": (["0.0", "1.0", "0", "1"], ["2.0", "0.5", "-1.0", "", "True", "nan", "-inf"]),
    "sts": (["0.0", "5.0", "3.14159", "5"], ["5.0001", "-0.1", "", "x", "nan", "inf", "-inf"]),
}


def test_the_table() -> None:
    assert list(TASKS) == ["sst", "para", "sts", "cfimdb"]
    assert all(name == task.name for name, task in TASKS.items())
    assert {n: len(t.text_columns) for n, t in TASKS.items()} == {
        "sst": 1,
        "para": 2,
        "sts": 2,
        "cfimdb": 1,
    }
    assert {n: t.num_outputs for n, t in TASKS.items()} == {
        "sst": 5,
        "para": 1,
        "sts": 1,
        "cfimdb": 2,
    }


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, (good, _) in LABELS.items() for text in good]
)
def test_labels_accepted(name: str, text: str) -> None:
    assert TASKS[name].parse_label(text) == float(text)


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, (_, bad) in LABELS.items() for text in bad]
)
def test_labels_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"is not (one of|a number|between)") as refused:
        TASKS[name].parse_label(text)
    assert repr(text) in str(refused.value)


def test_header_names_are_the_courses() -> None:
    assert {name: task.prediction_column for name, task in TASKS.items()} == {
        "sst": "Predicted_Sentiment",
        "para": "Predicted_Is_Paraphrase",
        "sts": "Predicted_Similiary",
        "cfimdb": "Predicted_Sentiment",
    }


@pytest.mark.parametrize("name", ["sst", "cfimdb"])
def test_a_class_is_the_largest_logit(name: str) -> None:
    k = TASKS[name].num_outputs
    logits = np.random.default_rng(0).normal(size=(50, k)).astype(np.float32)
    predictions = TASKS[name].decode(logits)
    assert predictions.tolist() == [max(range(k), key=row.__getitem__) for row in logits.tolist()]
    assert np.issubdtype(predictions.dtype, np.integer)


def test_a_paraphrase_is_more_likely_than_not() -> None:
    logits = np.array([[-3.0], [-1e-6], [0.0], [1e-6], [3.0]], dtype=np.float32)
    assert TASKS["para"].decode(logits).tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]


def test_a_similarity_stays_on_its_scale() -> None:
    logits = np.array([[-1.0], [0.0], [2.75], [5.0], [7.0]], dtype=np.float32)
    assert TASKS["sts"].decode(logits).tolist() == [0.0, 0.0, 2.75, 5.0, 5.0]


@NAMES
def test_one_prediction_an_example(name: str) -> None:
    task = TASKS[name]
    for count in (0, 1, 4):
        assert task.decode(np.zeros((count, task.num_outputs), np.float32)).shape == (count,)


@NAMES
def test_perfect_predictions_score_one(name: str) -> None:
    """What decodes to the labels gets the top score, through the task's own decode and metric."""
    task = TASKS[name]
    if task.num_outputs > 1:
        labels = np.arange(20) % task.num_outputs
        logits = np.eye(task.num_outputs)[labels]
    elif task.metric is metrics.accuracy:
        labels = np.arange(20) % 2
        logits = (labels[:, None] - 0.5) * 8
    else:
        labels = np.linspace(0, 5, 20)
        logits = labels[:, None]
    score = task.metric(task.decode(logits.astype(np.float32)), labels.astype(np.float32))
    assert score == pytest.approx(1.0)
    assert task.points(score) == pytest.approx(1.0)


@NAMES
def test_divergence_fits_the_loss(name: str) -> None:
    """A softmax divergence over one logit would be identically zero."""
    task = TASKS[name]
    first, second = torch.randn(2, 4, task.num_outputs)
    assert task.divergence(first, second).item() > 0
    pairs = {
        losses.cross_entropy: losses.symmetric_kl,
        losses.binary_cross_entropy: losses.symmetric_kl_bernoulli,
        losses.squared_error: losses.squared_distance,
    }
    assert pairs[task.loss] is task.divergence


@NAMES
def test_pair_heads(name: str) -> None:
    task = TASKS[name]
    assert (task.pair_head is not None) == (len(task.text_columns) == 2)
    if task.pair_head is not None:
        logits = task.pair_head(6)(torch.randn(2, 3, 6))
        assert logits.shape == (3, task.num_outputs)


def test_heads_are_those_of_the_poster() -> None:
    para, sts = TASKS["para"].pair_head, TASKS["sts"].pair_head
    assert para is not None and isinstance(para(4), heads.DifferenceHead)
    assert sts is not None and isinstance(sts(4), heads.CosineHead)
    assert sts(4).scale == 5.0
    assert TASKS["sts"].center == 2.5


def test_a_regression_on_another_scale_is_weighted_by_its_square() -> None:
    """It is the mean squared error of labels and outputs that are both scaled."""
    task = TASKS["sts"].on_scale(1.0)
    logits, other = 5 * torch.rand(2, 7, 1, dtype=torch.float64)
    labels = 5 * torch.rand(7, dtype=torch.float64)
    expected = (logits.squeeze(-1) / 5 - labels / 5).square().mean()
    torch.testing.assert_close(task.loss(logits, labels), expected)
    torch.testing.assert_close(
        task.divergence(logits, other), ((logits - other) / 5).square().mean()
    )
    assert (task.decode, task.metrics, task.center) == (
        TASKS["sts"].decode,
        TASKS["sts"].metrics,
        2.5,
    )


def test_points_of_the_2024_handout() -> None:
    assert TASKS["sst"].points(0.5) == 0.5
    assert TASKS["para"].points(0.9) == 0.9
    assert TASKS["sts"].points(0.0) == 0.5
    assert TASKS["sts"].points(-1.0) == 0.0
    assert TASKS["sts"].points(1.0) == 1.0


def test_overall_is_the_mean_of_the_points() -> None:
    scores = {"sst": 0.5, "para": 0.8, "sts": 0.6}
    assert overall(scores) == pytest.approx((0.5 + 0.8 + (0.6 + 1) / 2) / 3)
    assert overall({"sst": 0.5}) == 0.5


def test_a_task_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TASKS["sst"].num_outputs = 3  # type: ignore[misc]
