"""The objective: what is differentiated, what the log gets, and how often the model runs."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.regularizers.base import Regularizer, TrainingPass
from minbert.regularizers.objective import Objective
from minbert.regularizers.smart.adversarial import Adversarial
from minbert.regularizers.smart.bregman import Bregman
from tests.tiny_models import (
    CASES,
    Case,
    assert_gradients_agree,
    gradients,
    tiny_batch,
    tiny_model,
)

SEED = 23
POLICIES = ("off", "shared", "independent")
STS = Case("sts", "relational")
LARGE = {"epsilon": 1e-2, "sigma": 1e-2, "eta": 1e-2}


class SizeOfHead(Regularizer):
    """A regularizer as another author would write one: the squared norm of the pooler's weights."""

    name = "size"

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.steps = torch.zeros(())

    def loss(self, model: MultitaskBert, batch: Batch, clean: TrainingPass) -> Tensor:
        assert clean.logits.shape[0] == len(batch.ids)
        return model.encoder.pooler.weight.square().sum()

    def after_step(self, model: MultitaskBert) -> None:
        self.steps += 1

    def state_dict(self) -> dict[str, Tensor]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.steps = state["steps"].clone()


def smart(model: MultitaskBert, dropout: str = "off") -> Objective:
    return Objective(
        [
            Adversarial(**LARGE, weight=5.0, dropout=dropout),
            Bregman(model, weight=2.0, dropout=dropout),
        ]
    )


def drift(model: nn.Module) -> None:
    """Move the weights away from the teacher's."""
    with torch.no_grad():
        for param in model.parameters():
            param.mul_(1.03)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_without_regularizers_it_is_the_tasks_loss(case: Case) -> None:
    model, batch = tiny_model(case), tiny_batch(case)
    values = Objective().backward(model, batch, SEED)
    ours = gradients(model)
    loss = batch.task.loss(model(batch, mask_seed=SEED), batch.labels)
    loss.backward()
    assert values == {"loss": loss.detach(), "task_loss": loss.detach()}
    assert_gradients_agree(ours, gradients(model), 1e-12)


@pytest.mark.parametrize("dropout", POLICIES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient_is_the_weighted_sum_of_each_terms(case: Case, dropout: str) -> None:
    model, batch = tiny_model(case), tiny_batch(case)
    objective = smart(model, dropout)
    drift(model)
    values = objective.backward(model, batch, SEED)
    ours = gradients(model)
    batch.task.loss(TrainingPass(model, batch, SEED).logits, batch.labels).backward()
    expected = gradients(model)
    for term in objective.regularizers:
        alone = term.loss(model, batch, TrainingPass(model, batch, SEED, [term]))
        alone.backward()
        assert float(values[term.name]) == pytest.approx(float(alone.detach()), rel=1e-12) != 0
        for name, gradient in gradients(model).items():
            expected[name] = expected[name] + term.weight * gradient
    assert_gradients_agree(ours, expected, 1e-9)


def test_log_has_the_total_and_each_unweighted_term() -> None:
    model, batch = tiny_model(STS), tiny_batch(STS)
    objective = smart(model)
    drift(model)
    values = objective.backward(model, batch, SEED)
    assert list(values) == ["loss", "task_loss", "adversarial", "bregman"]
    assert not any(value.requires_grad or value.ndim for value in values.values())
    total = values["task_loss"] + 5 * values["adversarial"] + 2 * values["bregman"]
    torch.testing.assert_close(values["loss"], total)


def test_the_weight_decides_what_a_term_adds() -> None:
    """Not added to a detached number and lost: the gradient grows with the weight."""
    model, batch = tiny_model(STS), tiny_batch(STS)
    slopes = []
    for weight in (0.0, 1.0, 2.0):
        Objective([SizeOfHead(weight)]).backward(model, batch, SEED)
        slopes.append(gradients(model)["encoder.pooler.weight"])
    pooler = model.encoder.pooler.weight.detach()
    torch.testing.assert_close(slopes[1] - slopes[0], 2 * pooler)
    torch.testing.assert_close(slopes[2] - slopes[0], 4 * pooler)


def test_gradients_are_added_to_what_is_there() -> None:
    model, batch = tiny_model(STS), tiny_batch(STS)
    Objective().backward(model, batch, SEED)
    once = gradients(model)
    for _ in range(2):
        Objective().backward(model, batch, SEED)
    twice = gradients(model)
    assert_gradients_agree(twice, {name: 2 * value for name, value in once.items()}, 1e-12)


@pytest.mark.parametrize("dropout", POLICIES)
def test_a_step_is_a_function_of_its_seed(dropout: str) -> None:
    model, batch = tiny_model(STS), tiny_batch(STS)
    found = []
    for seed in (1, 1, 2):
        torch.rand(3)  # whatever else was drawn meanwhile
        values = smart(model, dropout).backward(model, batch, seed)
        found.append((values, gradients(model)))
    assert found[0][0] == found[1][0] != found[2][0]
    assert all(torch.equal(found[0][1][name], found[1][1][name]) for name in found[0][1])


@pytest.mark.parametrize(
    ("dropout", "autocast", "passes"),
    [
        ("shared", None, 3),  # training, ascent, perturbed
        ("independent", None, 3),
        ("off", None, 4),  # and the clean branch, once for both terms
        ("shared", torch.bfloat16, 4),
        ("independent", torch.bfloat16, 4),
        ("off", torch.bfloat16, 4),
    ],
)
def test_both_terms_share_the_clean_pass(
    dropout: str, autocast: torch.dtype | None, passes: int
) -> None:
    model = tiny_model(STS, dtype=torch.float32, autocast=autocast)
    batch, objective, seen = tiny_batch(STS), smart(model, dropout), []
    model.register_forward_hook(lambda *_: seen.append("model"))
    objective.regularizers[1]._teacher.register_forward_hook(lambda *_: seen.append("teacher"))
    objective.backward(model, batch, SEED)
    assert seen.count("model") == passes
    assert seen.count("teacher") == 1


def test_bf16_lowers_the_tasks_loss_alone() -> None:
    found = []
    for autocast in (None, torch.bfloat16):
        model = tiny_model(STS, dtype=torch.float32, autocast=autocast)
        objective = smart(model)
        drift(model)
        found.append(objective.backward(model, tiny_batch(STS), SEED))
    for name in ("adversarial", "bregman"):
        assert float(found[0][name]) == pytest.approx(float(found[1][name]), rel=1e-6)
    assert found[0]["task_loss"] != found[1]["task_loss"]
    assert all(value.dtype == torch.float32 for value in found[1].values())


def test_after_step_and_state_reach_every_regularizer_by_name() -> None:
    model = tiny_model(STS)
    first = Objective([SizeOfHead(1.0), Bregman(model, beta=0.5)])
    drift(model)
    first.after_step(model)
    state = first.state_dict()
    assert state["size.steps"] == 1
    assert {name.partition(".")[0] for name in state} == {"size", "bregman"}
    second = Objective([Bregman(model, beta=0.5), SizeOfHead(1.0)])
    second.load_state_dict(state)
    back = second.state_dict()
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], value) for name, value in state.items())


def with_kept_features(model: MultitaskBert, batch: Batch) -> Batch:
    """The batch with pooled vectors, computed without dropout, in place of its tokens."""
    features = copy.deepcopy(model).eval().pool(batch.tokens).detach()
    return dataclasses.replace(
        batch, tokens=None, features=features.unflatten(0, (batch.views, -1))
    )


@pytest.mark.parametrize("dropout", POLICIES)
@pytest.mark.parametrize("case", [Case("sst", "bi"), Case("para", "bi"), STS], ids=str)
def test_features_kept_from_a_frozen_encoder_give_the_same_step(case: Case, dropout: str) -> None:
    """From the very first pass of a new model, and of a new teacher, on."""
    found = []
    for keep in (True, False):
        model, batch = tiny_model(case, frozen=True), tiny_batch(case)
        if keep:
            batch = with_kept_features(model, batch)
        objective = Objective([Bregman(model, dropout=dropout)])
        found.append((objective.backward(model, batch, SEED), gradients(model)))
    for name, value in found[0][0].items():
        torch.testing.assert_close(value, found[1][0][name], rtol=1e-9, atol=1e-15)
    assert_gradients_agree(found[1][1], found[0][1], 1e-9)
    assert max(float(gradient.norm()) for gradient in found[0][1].values()) > 0


# ------------------------------------------------------------------------- weights of the terms


def test_a_term_without_weight_for_a_task_is_not_computed_there() -> None:
    model = tiny_model(STS)
    term = Adversarial(**LARGE, weight={"sts": 3.0}, dropout="shared")
    objective = Objective([term])
    values = objective.backward(model, tiny_batch(STS), SEED)
    expected = values["task_loss"] + 3 * values["adversarial"]
    assert float(values["loss"]) == pytest.approx(float(expected), rel=1e-12)
    passes = []
    handle = model.register_forward_pre_hook(lambda *_: passes.append(0))
    elsewhere = objective.backward(model, tiny_batch(Case("sst", "bi")), SEED)
    handle.remove()
    assert elsewhere.keys() == {"loss", "task_loss"}
    assert len(passes) == 1


@pytest.mark.parametrize(("step", "share"), [(0, 0.25), (1, 0.5), (3, 1.0), (4, 1.0), (None, 1.0)])
def test_weights_rise_over_their_warm_up(step: int | None, share: float) -> None:
    model, batch = tiny_model(STS), tiny_batch(STS)
    term = Adversarial(**LARGE, weight=3.0, dropout="shared")
    values = Objective([term], warmup_steps=4).backward(model, batch, SEED, step)
    expected = values["task_loss"] + share * 3 * values["adversarial"]
    assert float(values["loss"]) == pytest.approx(float(expected), rel=1e-12)
