"""What follows the weights after every step: the teacher, and the vectors of normalised heads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from minbert.model import MultitaskBert
from minbert.regularizers import spectral
from minbert.regularizers.objective import Objective
from minbert.regularizers.r3f import R3F
from minbert.regularizers.smart.bregman import Bregman
from tests.tiny_models import Case, tiny_model
from tests.training.training_runs import SHAPE, make_run

STS = Case("sts", "relational")


def last_update(folder: Path, beta: float) -> tuple[torch.Tensor, ...]:
    """A head's weights before a run's only step and after it, and the teacher's after it."""
    run = make_run(folder, SHAPE)
    weights = dict(run.model.named_parameters())["heads.sst.output.weight"]
    before = weights.detach().clone()
    term = Bregman(run.model, beta=beta, dropout="shared")
    run.objective = Objective([term])
    run.plan = dataclasses.replace(run.plan, total_steps=1)
    run()
    return before, weights.detach(), term.state_dict()["heads.sst.output.weight"]


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_the_teacher_moves_after_the_step_and_not_before(tmp_path: Path, beta: float) -> None:
    before, after, teacher = last_update(tmp_path, beta)
    assert not torch.equal(before, after)
    torch.testing.assert_close(teacher, beta * before + (1 - beta) * after)


def moved_far(model: MultitaskBert) -> None:
    """Give every matrix of the heads another first singular vector."""
    for module in model.heads.modules():
        for own in getattr(module, "parametrizations", {}).values():
            with torch.no_grad():
                own.original.copy_(torch.randn(own.original.shape).to(own.original))


def largest_norm(model: torch.nn.Module) -> float:
    """The largest distance of a normalised matrix's norm from 1."""
    norms = [
        float(torch.linalg.matrix_norm(module.weight.detach(), ord=2))
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and hasattr(module, "parametrizations")
    ]
    assert norms
    return max(abs(norm - 1) for norm in norms)


def normalized() -> MultitaskBert:
    model = tiny_model(STS)
    spectral.normalize([model.heads])
    assert largest_norm(model) < 1e-3
    return model


def test_normalised_heads_follow_after_a_step_of_r3f() -> None:
    model = normalized()
    moved_far(model)
    assert largest_norm(model) > 0.05
    for _ in range(20):
        R3F(normalized_heads=True).after_step(model)
    assert largest_norm(model) < 1e-3


def test_the_teachers_heads_follow_the_teacher() -> None:
    """They are normalised by vectors of its own, which its averaged weights leave behind."""
    model = normalized()
    term = Bregman(model, beta=0.5)
    teacher = term._teacher
    moved_far(model)
    for _ in range(20):
        term.after_step(model)
    assert largest_norm(teacher) < 1e-3


def test_beta_changes_after_a_tenth_of_the_updates() -> None:
    model = tiny_model(STS)
    term = Bregman(model, beta=0.5, late_beta=0.9)
    term.begin(20)
    weight, seen = dict(model.named_parameters())["heads.sst.output.weight"], []
    for _ in range(4):
        teacher = term.state_dict()["heads.sst.output.weight"]
        before = teacher.clone()
        with torch.no_grad():
            weight.copy_(before + 1)
        term.after_step(model)
        seen.append(float((teacher - before).mean()))
    assert seen == pytest.approx([0.5, 0.5, 0.1, 0.1])


def test_the_updates_are_counted_through_a_checkpoint() -> None:
    model = tiny_model(STS)
    first, other = (Bregman(model, beta=0.5, late_beta=0.9) for _ in range(2))
    for term in (first, other):
        term.begin(10)
    first.after_step(model)
    other.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    assert other._momentum() == first._momentum() == 0.9
    plain = Bregman(model, beta=0.5)
    assert plain.state_dict().keys() == plain._teacher.state_dict().keys()  # as checkpoints have it
    plain.begin(10)
    for _ in range(3):
        plain.after_step(model)
    assert plain._momentum() == 0.5
