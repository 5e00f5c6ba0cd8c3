"""The answers that a page shows are the ones that it says they are."""

from __future__ import annotations

import numpy as np
import torch

from minbert.encoder.config import EncoderConfig
from minbert.finetune.report.examples import clearest, probabilities
from minbert.finetune.report.outcome import OnDev
from tests.helpers import make_encoder, make_model, random_dataset


def on_dev(task: str, tiny: EncoderConfig, rows: int = 40):
    torch.manual_seed(3)
    model = make_model(make_encoder(tiny, initializer_range=0.5)).eval()
    dataset = random_dataset(task, rows)
    with torch.no_grad():
        logits = model(dataset.batch(np.arange(rows), model.device))
    predictions = dataset.task.decode(logits.numpy())
    return (
        model,
        OnDev(dataset, np.arange(rows), dataset.labels, predictions, True, 0.5, 0.3),
        logits,
    )


def test_of_classes_the_surest_wrong_and_right_answers_are_found(tiny: EncoderConfig) -> None:
    model, one, logits = on_dev("sst", tiny)
    sure = logits.softmax(dim=1).amax(dim=1).numpy()
    wrong = one.predictions != one.labels
    answers = clearest(model, one)
    assert wrong.sum() > 5 and (~wrong).sum() > 1
    for kind, which in (("wrong", wrong), ("right", ~wrong)):
        own = [answer for answer in answers if answer.kind == kind]
        expected = np.flatnonzero(which)[np.argsort(-sure[which])][:5]
        assert [answer.row for answer in own] == expected.tolist()
        np.testing.assert_allclose([a.probability for a in own], sure[expected], rtol=1e-5)


def test_one_logit_counts_as_two_classes(tiny: EncoderConfig) -> None:
    model, one, logits = on_dev("para", tiny)
    yes = torch.sigmoid(logits[:, 0]).numpy()
    expected = np.maximum(yes, 1 - yes)
    found = probabilities(model, one.dataset, one.rows)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    answers = clearest(model, one)
    assert answers and all(a.probability >= 0.5 for a in answers if a.probability is not None)


def test_on_a_scale_the_farthest_and_the_nearest_answers_are_found(tiny: EncoderConfig) -> None:
    model, one, _ = on_dev("sts", tiny)
    distance = np.abs(one.predictions - one.labels)
    answers = clearest(model, one)
    far = [distance[answer.row] for answer in answers if answer.kind == "farthest"]
    near = [distance[answer.row] for answer in answers if answer.kind == "nearest"]
    assert far == sorted(distance, reverse=True)[:5] and near == sorted(distance)[:5]
    assert {answer.probability for answer in answers} == {None}


def test_few_examples_and_answers_that_are_all_right_are_no_error(tiny: EncoderConfig) -> None:
    model, one, _ = on_dev("sst", tiny, rows=3)
    right = OnDev(
        one.dataset, one.rows, one.predictions.astype(float), one.predictions, True, 1.0, 0.3
    )
    assert [answer.kind for answer in clearest(model, right)] == ["right"] * 3
    _, two, _ = on_dev("sts", tiny, rows=2)
    assert [answer.kind for answer in clearest(model, two)] == ["farthest"] * 2
