"""Which positions of padded texts a GPU computes: all tokens, and hardly any padding."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minbert.data import batches
from minbert.data.batches import Batch, computed_positions
from minbert.regularizers.freelb import FreeLB
from minbert.regularizers.objective import Objective
from minbert.regularizers.r3f import R3F
from minbert.regularizers.smart.adversarial import Adversarial
from tests.helpers import CPU, random_dataset
from tests.tiny_models import CASES, Case, padded, tiny_batch, tiny_model

GPU = torch.device("cuda")
WIDTH = 64


@pytest.fixture(autouse=True)
def gpu_is_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would go to a GPU stays on the CPU."""
    monkeypatch.setattr(batches, "to_device", lambda values, _device: torch.as_tensor(values))


def found(lengths: list[int]) -> Tensor | None:
    return computed_positions(np.asarray(lengths), WIDTH, GPU)


@settings(max_examples=50)
@given(st.lists(st.integers(1, WIDTH), min_size=1, max_size=60))
def test_they_are_all_tokens_and_less_than_a_sixteenth_more(lengths: list[int]) -> None:
    positions, tokens, places = found(lengths), sum(lengths), len(lengths) * WIDTH
    saved = places - tokens
    if positions is None:
        assert saved < batches._LEAST_SAVED + places / 16
        return
    mask = np.arange(WIDTH) < np.asarray(lengths)[:, None]
    assert len(positions.unique()) == len(positions)
    assert set(np.flatnonzero(mask)) <= set(positions.tolist())
    assert tokens <= len(positions) < tokens + places / 16
    assert len(positions) * 16 % places == 0
    assert places - len(positions) >= batches._LEAST_SAVED


def test_batches_of_many_lengths_have_few_shapes() -> None:
    draw = np.random.default_rng(0)
    drawn = [draw.integers(1, WIDTH + 1, size=128).tolist() for _ in range(300)]
    assert len({len(found(lengths)) for lengths in drawn}) <= 3  # type: ignore[arg-type]


def test_a_cpu_is_told_nothing_and_little_padding_stays() -> None:
    assert computed_positions(np.full(99, 1), WIDTH, CPU) is None
    assert found([WIDTH] * 99) is None
    assert found([WIDTH] * 99 + [1]) is None
    assert found([1] * 99) is not None


def test_batches_and_their_parts_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_LEAST_SAVED", 1)
    own = batches.computed_positions
    monkeypatch.setattr(batches, "computed_positions", lambda n, width, _: own(n, width, GPU))
    whole = random_dataset("para", 9).batch(np.arange(9), CPU)
    for batch in (whole, whole.part(slice(0, 4), 1)[0]):
        assert batch.tokens is not None and batch.tokens.computed is not None
        expected = batch.tokens.attention_mask.flatten().nonzero().squeeze(1)
        assert set(expected.tolist()) <= set(batch.tokens.computed.tolist())


def told(batch: Batch) -> Batch:
    """The batch with the positions of its tokens and one more, in an order of their own."""
    assert batch.tokens is not None
    mask = batch.tokens.attention_mask.flatten()
    tokens, others = (mask == 1).nonzero().squeeze(1), (mask == 0).nonzero().squeeze(1)
    computed = torch.cat([others[-1:], tokens.flip(0)])
    return dataclasses.replace(batch, tokens=dataclasses.replace(batch.tokens, computed=computed))


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("form", ["bi", "cross"])
def test_those_of_a_repeated_batch_are_those_of_its_copies(count: int, form: str) -> None:
    batch = told(padded(tiny_batch(Case("para", form)), 2))
    assert batch.tokens is not None and batch.tokens.computed is not None
    mark = torch.zeros_like(batch.tokens.input_ids).flatten()
    mark[batch.tokens.computed] = 1
    marked = dataclasses.replace(batch.tokens, input_ids=mark.view_as(batch.tokens.input_ids))
    again = dataclasses.replace(batch, tokens=marked).repeated(count).tokens
    assert again is not None and again.computed is not None
    expected = again.input_ids.flatten().nonzero().squeeze(1)
    assert torch.equal(again.computed.sort().values, expected)


TERMS: dict[str, Any] = {
    "plain": Objective,
    "SMART": lambda: Objective([Adversarial(epsilon=1e-2, sigma=1e-2, eta=1e-2)]),
    "R3F": lambda: Objective([R3F(sigma=1e-2)]),
    "FreeLB": lambda: FreeLB(init=0.1, radius=0.1),
}


@pytest.mark.parametrize("method", TERMS)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_method_trains_alike(case: Case, pooling: str, method: str) -> None:
    """Without dropout, in float64: the loss and every gradient."""
    outcomes = []
    for batch in (padded(tiny_batch(case), 2), told(padded(tiny_batch(case), 2))):
        model = tiny_model(case, dropout=0.0, head_dropout=0.0, pooling=pooling)
        rows: list[int] = []
        model.encoder.layers[0].register_forward_hook(lambda _, x, __, n=rows: n.append(len(x[0])))
        assert batch.tokens is not None
        computed = batch.tokens.computed
        expected = batch.real_tokens if computed is None else len(computed)
        values = TERMS[method]().backward(model, batch, 1, 1)
        assert {count % expected for count in rows} == {0}  # R3F's has the batch twice
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        outcomes.append([values["loss"], *gradients])
    for ours, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)
