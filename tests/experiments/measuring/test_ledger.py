"""What is counted: passes of the batch, and operations against formulas written out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.experiments.measuring import ledger
from minbert.experiments.measuring.batch import random_batch
from minbert.finetune.build import build_head
from minbert.model import MultitaskBert
from minbert.regularizers.base import Regularizer
from minbert.regularizers.freelb import FreeLB
from minbert.regularizers.objective import Objective
from minbert.regularizers.r3f import R3F
from minbert.regularizers.smart.adversarial import Adversarial
from minbert.regularizers.smart.bregman import Bregman
from minbert.tasks.registry import TASKS
from tests.helpers import CPU, TINY

LENGTH, EXAMPLES = 12, 3


def model_of(shape: EncoderConfig = TINY) -> MultitaskBert:
    head = build_head(TASKS["para"], shape.hidden_size, 2, rlayer=False)
    return MultitaskBert(BertModel(shape, "reference"), {"para": head})


def count(objective: Objective | FreeLB, model: MultitaskBert) -> ledger.Count:
    return ledger.count(model, objective, batch())


def batch():
    return random_batch("para", EXAMPLES, LENGTH, views=2, vocab_size=TINY.vocab_size, device=CPU)


def forward_operations(shape: EncoderConfig) -> int:
    """2 operations a multiplication: projections, perceptron, QKᵀ and AV; pooler; head.

    In the last layer only [CLS] asks, and goes on.
    """
    texts, hidden, inner = 2 * EXAMPLES, shape.hidden_size, shape.intermediate_size

    def layer(asking: int) -> int:
        keys = 2 * hidden**2 * texts * LENGTH * 2
        rest = 2 * (2 * hidden**2 + 2 * hidden * inner) * texts * asking
        return keys + rest + 2 * 2 * texts * asking * LENGTH * hidden

    pooler, head = 2 * texts * hidden**2, 2 * EXAMPLES * 3 * hidden
    return (shape.num_hidden_layers - 1) * layer(LENGTH) + layer(1) + pooler + head


@pytest.mark.parametrize("changes", [{}, {"num_hidden_layers": 3}, {"intermediate_size": 40}])
def test_operations_of_a_forward_pass_and_a_step(changes: dict[str, int]) -> None:
    shape = dataclasses.replace(TINY, **changes)
    model = model_of(shape)
    assert ledger.flops(lambda: model(batch(), mask_seed=1)) == forward_operations(shape)
    found = count(Objective(), model)
    assert found.flops == 3 * forward_operations(shape)
    assert found.units == pytest.approx(3, abs=1e-12)


Terms = Callable[[MultitaskBert], list[Regularizer]]


@pytest.mark.parametrize(
    ("terms", "forward", "backward"),
    [
        (lambda model: [], 1, 1),
        (lambda model: [R3F()], 2, 2),  # one call of the encoder with twice the rows
        (lambda model: [R3F(dropout="shared")], 2, 2),
        (lambda model: [R3F(dropout="off")], 3, 3),
        (lambda model: [Bregman(model, dropout="shared")], 2, 1),  # the teacher goes forward only
        (lambda model: [Adversarial(dropout="shared", steps=0)], 2, 2),
        (lambda model: [Adversarial(dropout="shared", steps=2)], 4, 4),
        (lambda model: [Adversarial(dropout="off"), Bregman(model, dropout="off")], 5, 4),
    ],
)
def test_passes(terms: Terms, forward: int, backward: int) -> None:
    model = model_of()
    found = count(Objective(terms(model)), model)
    assert (found.forward, found.backward) == (forward, backward)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_passes_of_freelb(steps: int) -> None:
    found = count(FreeLB(steps=steps), model_of())
    assert (found.forward, found.backward) == (steps, steps)


def test_counting_leaves_no_hook_behind() -> None:
    model = model_of()
    first = count(Objective(), model)
    assert count(Objective(), model) == first


def test_shapes_alone_give_the_same_count() -> None:
    real = count(Objective([R3F()]), model_of())
    with ledger.shapes_only():
        assert count(Objective([R3F()]), model_of()) == real


def test_shapes_alone_hold_no_data_and_can_be_copied() -> None:
    with ledger.shapes_only():
        huge = torch.empty(2**50)
        model = model_of()
        found = count(Objective([Bregman(model)]), model)
    assert huge.numel() == 2**50
    assert found.forward == 3
