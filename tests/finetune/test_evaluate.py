"""Passes without gradients: a prediction depends on its own example and nothing else."""

from __future__ import annotations

import dataclasses
from itertools import starmap

import numpy as np
import pytest
import torch

from minbert.encoder.attention import AttentionChoice, AttentionFunction, reference_attention
from minbert.encoder.config import EncoderConfig
from minbert.finetune import evaluate as evaluation
from minbert.finetune.evaluate import encode_texts, evaluate, predict, score
from minbert.model import MultitaskBert
from tests.helpers import make_dataset, make_encoder, make_model, random_dataset, random_texts

TASK_NAMES = ("sst", "para", "sts")


@pytest.fixture
def model(tiny: EncoderConfig) -> MultitaskBert:
    return make_model(make_encoder(tiny, initializer_range=0.5), pooling="mean")


@pytest.mark.parametrize("task", TASK_NAMES)
def test_predictions_do_not_depend_on_how_texts_are_batched(
    model: MultitaskBert, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = random_dataset(task, 40)
    expected = predict(model, data, "test")
    assert len(np.unique(expected)) > 1
    monkeypatch.setitem(evaluation.PASS_TOKENS, "cpu", 30)
    monkeypatch.setattr(evaluation, "_HEAD_ROWS", 7)
    np.testing.assert_allclose(predict(model, data, "test"), expected, rtol=1e-4)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_predictions_follow_the_datasets_order(model: MultitaskBert, task: str) -> None:
    texts = random_texts(task, 30)
    expected = predict(model, make_dataset(task, texts, [1.0] * 30), "test")
    order = np.random.default_rng(0).permutation(30)
    data = make_dataset(task, [texts[i] for i in order], [1.0] * 30)
    np.testing.assert_allclose(predict(model, data, "test"), expected[order], rtol=1e-4)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_kept_features_give_the_same_predictions(model: MultitaskBert, task: str) -> None:
    data = random_dataset(task, 25)
    kept = data.with_features(encode_texts(model, data, "test"))
    assert np.array_equal(predict(model, kept, "test"), predict(model, data, "test"))


def test_scoring_in_int8_is_near_and_leaves_the_encoder_as_it_was(tiny: EncoderConfig) -> None:
    encoder = make_encoder(tiny, initializer_range=0.5)
    exact, rounded = make_model(encoder), make_model(encoder, int8=True)
    data = random_dataset("sst", 60)
    before = {name: tensor.clone() for name, tensor in rounded.state_dict().items()}
    vectors = encode_texts(exact, data, "test"), encode_texts(rounded, data, "test")
    off = (vectors[1] - vectors[0]).norm() / vectors[0].norm()
    assert 1e-4 < off < 0.1
    after = rounded.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    batch = data.batch(np.arange(4), torch.device("cpu"))
    rounded.load_state_dict(exact.state_dict())
    assert torch.equal(rounded(batch), exact(batch))  # passes of training are exact


def test_prediction_runs_without_dropout_and_without_gradients(model: MultitaskBert) -> None:
    data = random_dataset("sts", 10)
    model.train()
    first = predict(model, data, "test")
    assert np.array_equal(first, predict(model, data, "test"))
    assert not encode_texts(model, data, "test").requires_grad
    assert all(param.grad is None for param in model.parameters())


def test_prediction_is_exact_under_autocast(model: MultitaskBert, tiny: EncoderConfig) -> None:
    encoder = make_encoder(tiny)
    lower = make_model(encoder, pooling="mean", autocast=torch.bfloat16)
    lower.load_state_dict(model.state_dict())
    data = random_dataset("sts", 10)
    assert np.array_equal(predict(lower, data, "test"), predict(model, data, "test"))


def test_prediction_works_in_float64(model: MultitaskBert) -> None:
    data = random_dataset("sts", 10)
    expected = predict(model, data, "test")
    np.testing.assert_allclose(predict(model.double(), data, "test"), expected, rtol=1e-4)


def test_a_row_without_label_is_predicted_and_not_scored(model: MultitaskBert) -> None:
    data = random_dataset("sst", 12)
    predictions = predict(model, data, "test")
    labels = data.labels.copy()
    labels[[2, 5]] = np.nan
    partly = dataclasses.replace(data, labels=labels)
    assert np.array_equal(predict(model, partly, "test"), predictions)
    keep = [i for i in range(12) if i not in (2, 5)]
    assert score(partly, predictions) == np.mean(predictions[keep] == labels[keep])
    spoiled = predictions.copy()
    spoiled[[2, 5]] = 99
    assert score(partly, spoiled) == score(partly, predictions)


def test_each_task_is_scored_by_its_own_metric(model: MultitaskBert) -> None:
    datasets = {task: random_dataset(task, 20) for task in TASK_NAMES}
    scores, _ = evaluate(model, datasets)
    predicted = {task: predict(model, data, "test") for task, data in datasets.items()}
    assert scores["sst"] == np.mean(predicted["sst"] == datasets["sst"].labels)
    assert scores["para"] == np.mean(predicted["para"] == datasets["para"].labels)
    r = np.corrcoef(predicted["sts"].astype(np.float64), datasets["sts"].labels)[0, 1]
    assert scores["sts"] == pytest.approx(r)
    assert list(scores) == list(datasets)


def test_predictions_lie_in_the_tasks_range(model: MultitaskBert) -> None:
    datasets = {task: random_dataset(task, 30) for task in TASK_NAMES}
    values = {task: predict(model, data, "test") for task, data in datasets.items()}
    assert set(values["sst"].tolist()) <= set(range(5))
    assert set(values["para"].tolist()) <= {0.0, 1.0}
    assert (values["sts"] >= 0).all()
    assert (values["sts"] <= 5).all()
    assert all(starmap(lambda task, data: len(values[task]) == len(data), datasets.items()))


def test_texts_are_encoded_by_scoring_attention(model: MultitaskBert) -> None:
    """The choice is passed on: inference mode alone leaves attention as it is in training."""
    used: list[str] = []

    def named(name: str) -> AttentionFunction:
        return lambda *inputs: used.append(name) or reference_attention(*inputs)

    model.encoder.attention = AttentionChoice(named("default"), named("scoring"))
    data = random_dataset("sst", 5)
    encode_texts(model, data, "test")
    assert set(used) == {"scoring"}
    used.clear()
    with torch.inference_mode():
        model(data.batch(np.arange(5), torch.device("cpu")))
    assert set(used) == {"default"}
