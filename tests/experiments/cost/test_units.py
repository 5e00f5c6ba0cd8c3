"""What a training step costs in forward units: forward 1, input gradient 1, weight gradient 1.

Floating-point operations are counted, not timed. Units hardly depend on the width, so a narrow
encoder is counted while it computes, which is faster than shapes alone. At full width, where
nothing is computed, one method is counted here and all of them in the slow tests. The counter has
no formula for the fused CPU kernel, so the reference attention is counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from minbert.data.batches import Batch
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.experiments.measuring import ledger
from minbert.experiments.measuring.batch import random_batch
from minbert.experiments.measuring.ledger import flops
from minbert.finetune.build import build_head, build_model
from minbert.finetune.config import RunConfig
from minbert.model import MultitaskBert
from minbert.regularizers.base import TrainingPass
from minbert.regularizers.objective import Objective
from minbert.regularizers.registry import build_objective
from minbert.regularizers.smart.adversarial import Adversarial
from minbert.regularizers.smart.bregman import Bregman
from minbert.tasks.registry import TASKS
from tests.helpers import CPU

LENGTH, SIZE = 48, 192  # tokens, hidden size
FULL = 768  # BERT-base's hidden size


@pytest.fixture
def no_arithmetic() -> Iterator[None]:
    with ledger.shapes_only():
        yield


def shape(layers: int, rate: float = 0.1, size: int = SIZE) -> EncoderConfig:
    return EncoderConfig(
        vocab_size=100,
        hidden_size=size,
        intermediate_size=4 * size,
        num_hidden_layers=layers,
        hidden_dropout_prob=rate,
        attention_probs_dropout_prob=rate,
    )


def small_model(*, rate: float = 0.1, frozen: bool = False) -> MultitaskBert:
    own = {name: build_head(TASKS[name], SIZE, 2, rlayer=False) for name in ("sst", "para")}
    encoder = BertModel(shape(2, rate), "reference")
    return MultitaskBert(encoder, own, head_dropout=rate, frozen_encoder=frozen)


def small_batch(task: str = "para") -> Batch:
    views = 1 if task == "sst" else 2
    return random_batch(task, 2 // views, LENGTH, views=views, vocab_size=100, device=CPU)


def units(model: MultitaskBert, objective: Objective, task: str = "para") -> float:
    return ledger.count(model, objective, small_batch(task)).units


# flags, and the forward units that a step costs at most
OFF, SHARED = ({"smart": True, "smart_dropout": dropout} for dropout in ("off", "shared"))
LIMITS: list[tuple[dict[str, Any], float]] = [
    ({}, 3.01),
    ({"r3f": True}, 6.02),
    ({"r3f": True, "r3f_dropout": "shared"}, 6.02),
    ({"r3f": True, "r3f_dropout": "off"}, 9.02),
    ({"r4f": True}, 6.1),
    ({**SHARED, "no_bregman": True}, 8.05),
    ({**SHARED, "no_bregman": True, "smart_steps": 2}, 10.1),
    ({**SHARED, "no_adversarial": True}, 4.02),
    (SHARED, 9.05),
    ({**OFF, "no_bregman": True}, 11.05),
    ({**OFF, "no_adversarial": True}, 7.02),
    (OFF, 12.05),
    ({"freelb": True, "freelb_steps": 1}, 3.01),
    ({"freelb": True, "freelb_steps": 2}, 6.05),
    ({"freelb": True, "freelb_steps": 3}, 9.08),
]


def step_of(
    settings: dict[str, Any],
    layers: int,
    task: str = "para",
    rate: float = 0.1,
    size: int = SIZE,
    **model_flags: Any,
) -> ledger.Count:
    """A step of the main job with these flags; `rate` is the dropout of the encoder's layers."""
    job = RunConfig(option="finetune", tasks=(task,), **settings, **model_flags).resolved()
    model = build_model(job, BertModel(shape(layers, rate, size), "reference"), CPU)
    return ledger.count(model, build_objective(job, model, steps=1), small_batch(task))


@pytest.mark.parametrize(("settings", "most"), LIMITS, ids=str)
def test_a_step_costs_what_it_must(settings: dict[str, Any], most: float) -> None:
    """With a whole layer, and the last one, which computes [CLS] alone."""
    assert most - 0.2 < step_of(settings, layers=2).units <= most


@pytest.mark.parametrize(
    ("settings", "most"), [(OFF, 9.05), ({"r3f": True, "r3f_dropout": "off"}, 6.02)], ids=str
)
def test_without_dropout_in_the_encoder_off_costs_what_shared_does(
    settings: dict[str, Any], most: float
) -> None:
    """The heads have dropout, of 0.3; their passes count next to nothing."""
    assert most - 0.2 < step_of(settings, layers=2, rate=0.0).units <= most


@pytest.mark.usefixtures("no_arithmetic")
def test_at_full_width_a_step_costs_as_many_units() -> None:
    """The method with the most passes."""
    assert 11.85 < step_of(OFF, layers=2, size=FULL).units <= 12.05


@pytest.mark.slow
@pytest.mark.usefixtures("no_arithmetic")
@pytest.mark.parametrize(("settings", "most"), LIMITS, ids=str)
def test_a_step_costs_what_it_must_with_twelve_layers(
    settings: dict[str, Any], most: float
) -> None:
    """At full width."""
    assert most - 0.2 < step_of(settings, layers=12, size=FULL).units <= most


def test_every_layer_costs_the_same_and_the_last_a_fifth_of_it() -> None:
    """So the units of two layers are those of twelve, but for pooler and head."""
    settings = {**SHARED, "no_bregman": True}
    one, two, three = (step_of(settings, layers).flops for layers in (1, 2, 3))
    assert three - two == two - one > 5 * one > 0


@pytest.mark.parametrize(("task", "flags"), [("sst", {}), ("sts", {}), ("sts", {"rlayer": True})])
def test_the_task_and_its_head_hardly_matter(task: str, flags: dict[str, Any]) -> None:
    """In units the ascent of a single output costs what that of five costs."""
    settings = {**SHARED, "no_bregman": True}
    assert step_of(settings, 1, task, **flags).units == pytest.approx(8.01, abs=0.01)


def adversarial(dropout: str, steps: int = 1) -> Adversarial:
    return Adversarial(dropout=dropout, steps=steps)


def test_independent_masks_cost_what_shared_ones_do() -> None:
    model = small_model()
    both = [units(model, Objective([adversarial(each)])) for each in ("shared", "independent")]
    assert both[0] == both[1]


def test_a_step_of_ascent_takes_input_gradients_only() -> None:
    """Forward 1, input gradient 1, and nothing for the weights."""
    model = small_model()
    costs = [units(model, Objective([adversarial("shared", steps)])) for steps in (0, 1, 2)]
    assert costs[0] == pytest.approx(6, abs=0.02)
    assert costs[2] <= 10.1
    assert 1.9 < costs[1] - costs[0] < 2.05
    assert costs[2] - costs[1] == pytest.approx(costs[1] - costs[0], abs=1e-3)


@pytest.mark.parametrize(("dropout", "most"), [("shared", 7.05), ("off", 10.05)])
def test_the_clean_passs_slope_saves_a_forward_pass(dropout: str, most: float) -> None:
    model = small_model()
    for steps in (1, 2):
        reused = Objective([Adversarial(dropout=dropout, steps=steps, reuse_clean=True)])
        plain = units(model, Objective([adversarial(dropout, steps)]))
        assert plain - units(model, reused) == pytest.approx(1, abs=0.01)
    alone = units(model, Objective([Adversarial(dropout=dropout, reuse_clean=True)]))
    assert most - 0.2 < alone <= most
    of_several_outputs = [
        units(model, Objective([Adversarial(dropout=dropout, reuse_clean=reuse)]), "sst")
        for reuse in (False, True)
    ]
    assert of_several_outputs[0] == of_several_outputs[1]


def test_where_all_dropout_is_zero_off_costs_what_shared_does() -> None:
    model = small_model(rate=0.0)
    costs = {}
    for dropout in ("off", "shared"):
        terms = [adversarial(dropout), Bregman(model, dropout=dropout)]
        costs[dropout] = units(model, Objective(terms))
    assert costs["off"] == costs["shared"] <= 9.05


def test_lowered_precision_costs_the_exact_branch_once_for_both_terms() -> None:
    """The training pass is then no branch: shared costs what off costs."""
    model = small_model()
    off = [adversarial("off"), Bregman(model, dropout="off")]
    expected = units(model, Objective(off))
    model._autocast = torch.bfloat16
    for dropout in ("off", "shared"):
        terms = [adversarial(dropout), Bregman(model, dropout=dropout)]
        assert units(model, Objective(terms)) == pytest.approx(expected, abs=1e-6)


def test_clean_branch_is_computed_once() -> None:
    model, batch = small_model(), small_batch()
    forward = flops(lambda: model(batch, mask_seed=1))
    record = TrainingPass(model, batch, 1)
    assert flops(lambda: record.clean_logits("off")) == forward
    assert flops(lambda: record.clean_logits("off")) == 0


def test_kept_features_cost_no_encoder() -> None:
    """A step of the frozen option is the head's work: thousands of times less than a forward."""
    model, batch = small_model(frozen=True), small_batch()
    forward = flops(lambda: model(batch, mask_seed=1))
    kept = dataclasses.replace(batch, tokens=None, features=torch.zeros(2, 1, SIZE))
    for terms in ([], [Bregman(model, dropout="off")]):
        step = flops(lambda terms=terms: Objective(terms).backward(model, kept, 1))
        head = 2 * 3 * SIZE  # multiplications and additions of one example's logit
        assert 0 < step <= 8 * head < forward / 1000


def test_frozen_encoder_takes_no_weight_gradients() -> None:
    assert units(small_model(frozen=True), Objective()) <= 1.01
