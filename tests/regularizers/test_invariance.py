"""What must not matter: an example's place in the batch, and how far the batch is padded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.regularizers.base import TrainingPass
from minbert.regularizers.freelb import FreeLB
from minbert.regularizers.r3f import R3F
from minbert.regularizers.smart.adversarial import Adversarial
from minbert.regularizers.smart.bregman import Bregman
from tests.tiny_models import (
    CASES,
    Case,
    assert_gradients_agree,
    gradients,
    padded,
    randomize,
    take,
    tiny_batch,
    tiny_model,
    view_rows,
)

SEED = 77
Value = Callable[[Batch, Tensor], Tensor]  # batch, noise (V·B, T, H) -> what is differentiated


def smart(model: MultitaskBert, patch: pytest.MonkeyPatch) -> Value:
    term = Adversarial(epsilon=1e-2, sigma=1e-2, eta=1e-2, steps=2)

    def value(batch: Batch, noise: Tensor) -> Tensor:
        patch.setattr(Adversarial, "_noise", lambda *_: 1e-2 * noise)
        return term.loss(model, batch, TrainingPass(model, batch, SEED))

    return value


def r3f(model: MultitaskBert, patch: pytest.MonkeyPatch) -> Value:
    def value(batch: Batch, noise: Tensor) -> Tensor:
        patch.setattr(R3F, "copy", lambda _self, _batch, x, _seed: x + 1e-2 * noise)
        term = R3F()
        return term.loss(model, batch, TrainingPass(model, batch, SEED, [term]))

    return value


def bregman(model: MultitaskBert, _patch: pytest.MonkeyPatch) -> Value:
    term = Bregman(model)
    randomize(model, 0.01)
    return lambda batch, _noise: term.loss(model, batch, TrainingPass(model, batch, SEED))


def freelb(model: MultitaskBert, patch: pytest.MonkeyPatch) -> Value:
    def value(batch: Batch, noise: Tensor) -> Tensor:
        patch.setattr(FreeLB, "start", lambda *_: 1e-2 * noise * real(batch))
        return FreeLB(steps=3, step_size=0.1, radius=0.2).backward(model, batch, SEED)["loss"]

    return value


def real(batch: Batch) -> Tensor:
    return batch.tokens.attention_mask[:, :, None]


def measured(value: Value, model: MultitaskBert, batch: Batch, noise: Tensor) -> tuple[float, dict]:
    found = value(batch, noise)
    if found.requires_grad:
        found.backward()
    return float(found.detach()), gradients(model)


@pytest.mark.parametrize("method", [smart, r3f, bregman, freelb])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_place_and_padding_change_neither_value_nor_gradient(
    case: Case, method, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = tiny_model(case, dropout=0.0, head_dropout=0.0), tiny_batch(case)
    value, order = method(model, monkeypatch), [2, 0, 1]
    noise = torch.randn(*batch.tokens.input_ids.shape, 16, dtype=torch.float64)
    expected, slopes = measured(value, model, batch, noise)
    assert expected > 0
    wider = torch.nn.functional.pad(noise, (0, 0, 0, 4), value=9.0)
    others = [(take(batch, order), noise[view_rows(batch, order)]), (padded(batch, 4), wider)]
    for other, moved in others:
        found, gradient = measured(value, model, other, moved * real(other))
        assert found == pytest.approx(expected, rel=1e-9)
        assert_gradients_agree(gradient, slopes, 1e-8)
