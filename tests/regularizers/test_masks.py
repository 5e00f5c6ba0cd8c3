"""Shared dropout masks are the same masks bit for bit, in every layer, attention included."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.encoder import dropout
from minbert.model import MultitaskBert
from minbert.regularizers.base import TrainingPass
from minbert.regularizers.freelb import FreeLB
from minbert.regularizers.objective import Objective
from minbert.regularizers.r3f import R3F
from minbert.regularizers.smart.adversarial import Adversarial
from minbert.regularizers.smart.bregman import Bregman
from tests.helpers import TINY
from tests.tiny_models import CASES, Case, tiny_batch, tiny_model

SEED = 77
A_PASS = 1 + 3 * TINY.num_hidden_layers + 1  # embeddings; attention and twice hidden; the head


@contextlib.contextmanager
def drawn_masks(patch: pytest.MonkeyPatch) -> Iterator[list[Tensor]]:
    """What every dropout inside the block makes of ones: 0 or 1 / (1 - p)."""
    draw, seen = dropout.keep_mask, []

    def spy(like: Tensor, rate: float) -> Tensor:
        seen.append(draw(like, rate))
        return seen[-1]

    with patch.context() as inner:
        inner.setattr(dropout, "keep_mask", spy)
        yield seen


def passes(masks: list[Tensor]) -> list[list[Tensor]]:
    assert len(masks) % A_PASS == 0
    return [masks[first : first + A_PASS] for first in range(0, len(masks), A_PASS)]


def step(name: str, dropout: str, model: MultitaskBert, batch: Batch) -> int:
    """One training step of a method; returns how many passes it takes."""
    if name == "freelb":
        FreeLB(steps=3).backward(model, batch, SEED)
        return 3
    term = {
        "r3f": lambda: R3F(sigma=1e-2, dropout=dropout),
        "smart": lambda: Adversarial(epsilon=1e-2, steps=2, dropout=dropout),
        "bregman": lambda: Bregman(model, dropout=dropout),
    }[name]()
    Objective([term]).backward(model, batch, SEED)
    return 4 if name == "smart" else 2


@pytest.mark.parametrize("name", ["r3f", "smart", "bregman", "freelb"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_shared_masks_are_the_same_in_every_layer(
    case: Case, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = tiny_model(case), tiny_batch(case)
    with drawn_masks(monkeypatch) as masks:
        count = step(name, "shared", model, batch)
    drawn = passes(masks)
    assert len(drawn) == count
    assert all(bool((mask == 0).any()) for mask in drawn[0][:-1])
    for before, after in pairwise(drawn):
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("name", ["smart", "bregman"])
def test_independent_masks_differ_in_every_layer(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case("sst", "bi")
    with drawn_masks(monkeypatch) as masks:
        step(name, "independent", tiny_model(case), tiny_batch(case))
    for before, after in pairwise(passes(masks)):
        assert not any(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_examples_side_by_side_have_masks_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """R3F's clean and noised rows, which share a pass where masks are independent."""
    case = Case("sst", "bi")
    with drawn_masks(monkeypatch) as masks:
        Objective([R3F()]).backward(tiny_model(case), tiny_batch(case), SEED)
    assert len(masks) == A_PASS
    assert not any(torch.equal(*mask.chunk(2)) for mask in masks)


@pytest.mark.parametrize("attention", ["reference", "fused"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_without_noise_shared_masks_give_the_same_logits(
    case: Case, dtype: torch.dtype, attention: str
) -> None:
    """The fused kernel draws its masks where no test can look: equal logits speak for them."""
    model, batch = tiny_model(case, dtype=dtype, attention=attention), tiny_batch(case)
    term = R3F(sigma=0.0, dropout="shared")
    assert float(term.loss(model, batch, TrainingPass(model, batch, SEED, [term])).detach()) == 0


def test_a_term_that_replays_the_masks_meets_them_beside_one_that_does_not() -> None:
    """Another term's copy may not go through with the batch then: it would draw other masks."""
    case = Case("sst", "bi")
    model, batch = tiny_model(case), tiny_batch(case)
    noise = R3F(sigma=1e-3, dropout="shared")
    other = R3F(normalized_heads=True, dropout="independent")
    alone, beside = (
        float(noise.loss(model, batch, TrainingPass(model, batch, 3, terms)).detach())
        for terms in ([noise], [noise, other])
    )
    assert 0 < alone == beside
