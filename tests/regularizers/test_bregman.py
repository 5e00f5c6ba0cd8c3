"""The Bregman proximal term against its formulas, over real updates; and its averaged teacher."""

from __future__ import annotations

import pytest
import torch

from minbert.model import MultitaskBert
from minbert.regularizers.base import TrainingPass
from minbert.regularizers.smart.bregman import Bregman
from minbert.training.optimizer import AdamW
from tests.regularizers import formulas
from tests.regularizers.checks import (
    assert_is_the_finite_difference,
    assert_is_the_formula,
    net_of,
    weights_of,
)
from tests.tiny_models import (
    CASES,
    Case,
    tiny_batch,
    tiny_model,
)

SEED = 19
POLICIES = ("off", "shared", "independent")
STS = Case("sts", "relational")
BETA = 0.9


def constants_of(model: MultitaskBert) -> formulas.Weights:
    return {name: weight.detach() for name, weight in weights_of(model).items()}


def teacher_of(term: Bregman) -> formulas.Weights:
    return {
        name: value.clone()
        for name, value in term.state_dict().items()
        if value.is_floating_point()
    }


def train(model: MultitaskBert, term: Bregman, case: Case, steps: int, lr: float = 0.02) -> None:
    """Some real updates on the task's loss and the term."""
    optimizer = AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    for step in range(steps):
        batch = tiny_batch(case, seed=step)
        record = TrainingPass(model, batch, step)
        loss = batch.task.loss(record.logits, batch.labels)
        (loss + term.weight * term.loss(model, batch, record)).backward()
        optimizer.step()
        optimizer.zero_grad()
        term.after_step(model)


@pytest.mark.parametrize("dropout", POLICIES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_term_is_the_formulas_after_real_updates(case: Case, dropout: str) -> None:
    """Value and gradient to relative 1e-6 at every step; the reference moves its own teacher."""
    model, batch = tiny_model(case), tiny_batch(case)
    term = Bregman(model, beta=BETA, dropout=dropout)
    teacher = constants_of(model)
    for _ in range(4):
        train(model, term, case, 1)
        teacher = formulas.moved(teacher, constants_of(model), BETA)
        record = TrainingPass(model, batch, SEED)
        masks = {
            "off": [None, None],
            "shared": [SEED, SEED],
            "independent": [SEED, record.mask_seed("independent", "bregman")],
        }[dropout]
        ours = term.loss(model, batch, record)
        assert float(ours.detach()) > 0
        weights = weights_of(model)
        expected = formulas.bregman(weights, teacher, net_of(case), batch, masks)
        assert_is_the_formula(model, ours, weights, expected)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("dropout", ["off", "shared"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_teacher_starts_as_the_model(case: Case, dropout: str, frozen: bool) -> None:
    model, batch = tiny_model(case, frozen=frozen), tiny_batch(case)
    model.eval()  # as after an evaluation
    model(batch, mask_seed=SEED)
    term = Bregman(model, dropout=dropout)
    value = term.loss(model, batch, TrainingPass(model, batch, SEED))
    assert float(value.detach()) == 0.0


def test_independent_masks_differ_from_the_first_step_on() -> None:
    model, batch = tiny_model(STS), tiny_batch(STS)
    term = Bregman(model, dropout="independent")
    assert float(term.loss(model, batch, TrainingPass(model, batch, SEED)).detach()) > 1e-6


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.995, 0.999])
def test_teacher_follows_the_model_heads_included(beta: float) -> None:
    model = tiny_model(STS)
    term = Bregman(model, beta=beta)
    expected = constants_of(model)
    start = constants_of(model)
    for _ in range(5):
        train(model, term, STS, 1)
        expected = formulas.moved(expected, constants_of(model), beta)
    teacher = teacher_of(term)
    assert teacher.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(teacher[name], value, rtol=0, atol=1e-12)
    moved = {name for name in start if not torch.equal(teacher[name], start[name])}
    assert {"heads.sts.output.weight", "relational.dense.weight"} <= moved
    assert "encoder.layers.0.attention.query.weight" in moved


def test_a_task_that_was_not_drawn_follows_all_the_same() -> None:
    """The teacher moves after every optimizer step, whatever its task."""
    model = tiny_model(STS)
    term = Bregman(model, beta=0.5)
    start = constants_of(model)["heads.sst.output.weight"]
    with torch.no_grad():
        model.heads["sst"].output.weight += 1.0
    term.after_step(model)
    torch.testing.assert_close(teacher_of(term)["heads.sst.output.weight"], start + 0.5)


def test_no_gradient_reaches_the_teacher_and_training_does_not_share_its_weights() -> None:
    model, batch = tiny_model(STS), tiny_batch(STS)
    term = Bregman(model)
    train(model, term, STS, 2)
    term.loss(model, batch, TrainingPass(model, batch, SEED)).backward()
    own = {param.data_ptr() for param in model.parameters()}
    for param in term._teacher.parameters():
        assert not param.requires_grad
        assert param.grad is None
        assert param.data_ptr() not in own
    assert all(param.requires_grad for param in model.parameters())


@pytest.mark.parametrize("dropout", POLICIES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient_is_the_finite_difference(case: Case, dropout: str) -> None:
    model, batch = tiny_model(case), tiny_batch(case)
    term = Bregman(model, beta=BETA, dropout=dropout)
    train(model, term, case, 3)
    term.loss(model, batch, TrainingPass(model, batch, SEED)).backward()
    assert_is_the_finite_difference(
        model, lambda other: term.loss(other, batch, TrainingPass(other, batch, SEED))
    )


def test_state_goes_back_into_a_new_term() -> None:
    model = tiny_model(STS)
    term = Bregman(model, beta=BETA)
    train(model, term, STS, 3)
    other = Bregman(model, beta=BETA)
    other.load_state_dict({name: value.clone() for name, value in term.state_dict().items()})
    batch = tiny_batch(STS)
    values = [
        float(each.loss(model, batch, TrainingPass(model, batch, SEED)).detach())
        for each in (term, other)
    ]
    assert values[0] == values[1] > 0


def test_bf16_training_pass_leaves_the_term_exact() -> None:
    values = []
    for autocast in (None, torch.bfloat16):
        model = tiny_model(STS, dtype=torch.float32, autocast=autocast)
        batch = tiny_batch(STS)
        for dropout in POLICIES:
            term = Bregman(model, dropout=dropout)
            with torch.no_grad():
                for param in model.parameters():
                    param.mul_(1.02)
            value = term.loss(model, batch, TrainingPass(model, batch, SEED))
            values.append(float(value.detach()))
    assert values[:3] == pytest.approx(values[3:], rel=1e-6)
    assert min(values) > 0


def test_frozen_encoder_keeps_the_teachers_too() -> None:
    model, case = tiny_model(Case("sst", "bi"), frozen=True), Case("sst", "bi")
    term = Bregman(model, beta=0.5)
    start = teacher_of(term)
    train(model, term, case, 3)
    changed = {
        name for name, value in teacher_of(term).items() if not torch.equal(value, start[name])
    }
    assert changed == {"heads.sst.output.weight", "heads.sst.output.bias"}
