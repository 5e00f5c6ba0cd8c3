"""SMART's adversarial term against its formulas, and what must hold of its value."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.regularizers.base import TrainingPass
from minbert.regularizers.smart.adversarial import Adversarial
from tests.regularizers import formulas
from tests.regularizers.ascents import BI, LARGE, POLICIES, SEED, hold_noise, perturbed, value_of
from tests.regularizers.checks import (
    assert_is_the_finite_difference,
    assert_is_the_formula,
    net_of,
    seen_masks,
    weights_of,
)
from tests.tiny_models import (
    CASES,
    Case,
    gradients,
    tiny_batch,
    tiny_model,
    view_rows,
)

# ------------------------------------------------------------------------------ against formulas


def compare_with_formulas(
    case: Case, term: Adversarial, model: MultitaskBert, batch: Batch, pooling: str = "cls"
) -> None:
    """Value and every parameter's gradient of the term, to relative 1e-6."""
    training = TrainingPass(model, batch, SEED)
    with seen_masks(model) as seen:
        ours = term.loss(model, batch, training)
    branches = seen if term.dropout == "off" else [SEED, *seen]
    assert len(branches) == term.steps + 2
    assert float(ours.detach()) > 0
    weights = weights_of(model)
    assert training.embeddings is not None
    expected = formulas.adversarial(
        weights,
        net_of(case, pooling=pooling),
        batch,
        term._noise(training.embeddings.detach(), SEED),
        branches,
        epsilon=term.epsilon,
        eta=term.eta,
    )
    assert_is_the_formula(model, ours, weights, expected)


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("dropout", POLICIES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_term_is_the_formulas_in_value_and_gradient(case: Case, dropout: str, steps: int) -> None:
    term = Adversarial(**LARGE, steps=steps, dropout=dropout)
    compare_with_formulas(case, term, tiny_model(case), tiny_batch(case))


@pytest.mark.parametrize("case", BI, ids=str)
def test_term_is_the_formulas_inside_the_ball(case: Case) -> None:
    """Steps so small that no entry is clipped, and a mean over tokens for the pooled vector."""
    term = Adversarial(epsilon=1e-1, sigma=1e-3, eta=1e-2, steps=2, dropout="shared")
    model = tiny_model(case, pooling="mean")
    compare_with_formulas(case, term, model, tiny_batch(case), pooling="mean")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fp32_stays_near_the_float64_formulas(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, model = tiny_batch(case), tiny_model(case, dtype=torch.float32)
    noise = LARGE["sigma"] * torch.randn(len(batch.tokens.input_ids), 7, 16)
    hold_noise(monkeypatch, noise.clamp(-LARGE["epsilon"], LARGE["epsilon"]))
    term = Adversarial(**LARGE)
    value = term.loss(model, batch, TrainingPass(model, batch, SEED))
    weights = {n: p.detach().double().requires_grad_() for n, p in model.named_parameters()}
    expected = formulas.adversarial(
        weights,
        net_of(case),
        batch,
        noise.double(),
        [None, None, None],
        epsilon=LARGE["epsilon"],
        eta=LARGE["eta"],
    )
    assert_is_the_formula(model, value, weights, expected, relative=1e-3, negligible=1e-3)


@pytest.mark.parametrize("dropout", POLICIES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient_is_the_finite_difference_with_the_perturbation_held(
    case: Case, dropout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = tiny_model(case), tiny_batch(case)
    term = Adversarial(**LARGE, dropout=dropout)
    delta = perturbed(term, model, batch)
    monkeypatch.setattr(term, "perturbation", lambda *_: delta)
    term.loss(model, batch, TrainingPass(model, batch, SEED)).backward()
    assert_is_the_finite_difference(
        model, lambda other: term.loss(other, batch, TrainingPass(other, batch, SEED))
    )


# --------------------------------------------------------------------------------------- the term


@pytest.mark.parametrize("dropout", ["off", "shared"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_term_vanishes_with_epsilon_and_only_then(case: Case, dropout: str) -> None:
    """No noise, no penalty: whatever is left would measure dropout."""
    model, batch = tiny_model(case), tiny_batch(case)
    large, small, none = (
        value_of(Adversarial(epsilon=e, sigma=e, eta=e, dropout=dropout), model, batch)
        for e in (1e-2, 1e-8, 1e-300)
    )
    assert large > 0
    assert 0 <= small < 1e-9 * large
    assert none == 0


@pytest.mark.parametrize("case", BI, ids=str)
def test_independent_masks_measure_dropout_as_well(case: Case) -> None:
    model, batch = tiny_model(case), tiny_batch(case)
    tiny = {"epsilon": 1e-8, "sigma": 1e-8, "eta": 1e-8}
    assert value_of(Adversarial(**tiny, dropout="independent"), model, batch) > 1e-4


@pytest.mark.parametrize("case", BI, ids=str)
def test_fp32_term_at_the_papers_epsilon_is_never_negative(case: Case) -> None:
    model = tiny_model(case, dtype=torch.float32)
    for seed in range(5):
        assert value_of(Adversarial(), model, tiny_batch(case, seed=seed)) >= 0


@pytest.mark.parametrize("case", BI, ids=str)
def test_gradient_flows_through_both_branches(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A detached target would lose what the clean branch adds."""
    model, batch = tiny_model(case, dropout=0, head_dropout=0), tiny_batch(case)
    term = Adversarial(**LARGE)
    term.loss(model, batch, TrainingPass(model, batch, SEED)).backward()
    both = gradients(model)
    branch = TrainingPass.clean_logits
    monkeypatch.setattr(TrainingPass, "clean_logits", lambda *a: branch(*a).detach())
    term.loss(model, batch, TrainingPass(model, batch, SEED)).backward()
    one = gradients(model)
    name = "encoder.layers.0.output.weight"
    assert (both[name] - one[name]).norm() > 1e-2 * both[name].norm()


def test_policies_replay_the_masks_they_name() -> None:
    case = Case("sst", "bi")
    model, batch = tiny_model(case), tiny_batch(case)
    seen = {}
    for policy in POLICIES:
        with seen_masks(model) as passes:
            value_of(Adversarial(**LARGE, steps=2, dropout=policy), model, batch)
        seen[policy] = list(passes)
    assert seen["off"] == [SEED, None, None, None, None]
    assert seen["shared"] == [SEED, SEED, SEED, SEED]
    assert seen["independent"][0] == SEED
    assert len(set(seen["independent"])) == 4
    assert None not in seen["independent"]


# ------------------------------------------------------------------------- equal texts, precision


def with_equal_texts(batch: Batch, example: int) -> Batch:
    """The same batch where the second text of one pair is its first."""
    first, second = view_rows(batch, [example])
    changed = {}
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        changed[name] = getattr(batch.tokens, name).clone()
        changed[name][second] = changed[name][first]
    return dataclasses.replace(batch, tokens=dataclasses.replace(batch.tokens, **changed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("settings", [{}, LARGE, {"epsilon": 1e-20, "sigma": 1e-20}])
def test_equal_texts_under_a_cosine_give_no_nan(dtype: torch.dtype, settings: dict) -> None:
    case = Case("sts", "bi")
    model = tiny_model(case, dtype=dtype)
    batch = with_equal_texts(tiny_batch(case), 1)
    for dropout in POLICIES:
        term = Adversarial(**settings, steps=2, dropout=dropout)
        value = term.loss(model, batch, TrainingPass(model, batch, SEED))
        value.backward()
        assert math.isfinite(float(value.detach()))
        assert all(bool(torch.isfinite(grad).all()) for grad in gradients(model).values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_texts_stay_in_the_ball_with_a_reused_slope(dtype: torch.dtype) -> None:
    for case in (Case("sts", "bi"), Case("para", "bi"), Case("sts", "relational")):
        model, batch = tiny_model(case, dtype=dtype), with_equal_texts(tiny_batch(case), 1)
        delta = perturbed(Adversarial(reuse_clean=True, steps=2), model, batch)
        assert bool(torch.isfinite(delta).all())
        assert float(delta.abs().max()) <= 1e-5


def test_an_example_without_a_slope_keeps_its_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal texts far below rounding: cosine exactly as before, gradient exactly zero."""
    case = Case("sts", "bi")
    model, batch = tiny_model(case), with_equal_texts(tiny_batch(case), 1)
    noise = 1e-3 * torch.randn(6, 7, 16, dtype=torch.float64)
    rows = view_rows(batch, [1])
    noise[rows] *= 1e-30
    hold_noise(monkeypatch, noise)
    delta = perturbed(Adversarial(epsilon=1.0, sigma=1e-3, eta=1e-2, steps=2), model, batch)
    real = batch.tokens.attention_mask[rows][:, :, None]
    assert torch.equal(delta[rows], noise[rows] * real)
    others = view_rows(batch, [0, 2])
    moved = delta[others] - noise[others] * batch.tokens.attention_mask[others][:, :, None]
    assert moved.abs().max() > 5e-3


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bf16_training_pass_leaves_the_term_exact(case: Case) -> None:
    batch, values, losses = tiny_batch(case), [], []
    for autocast in (None, torch.bfloat16):
        model = tiny_model(case, dtype=torch.float32, autocast=autocast)
        for dropout in POLICIES:
            training = TrainingPass(model, batch, SEED)
            term = Adversarial(**LARGE, dropout=dropout)
            values.append(float(term.loss(model, batch, training).detach()))
            losses.append(float(batch.task.loss(training.logits, batch.labels).detach()))
    assert values[:3] == pytest.approx(values[3:], rel=1e-6)
    assert all(
        full != lowered and full == pytest.approx(lowered, rel=0.1)
        for full, lowered in zip(losses[:3], losses[3:], strict=True)
    )


def test_frozen_encoder_is_perturbed_and_only_the_head_learns() -> None:
    case = Case("sst", "bi")
    batch, model = tiny_batch(case), tiny_model(case, frozen=True)
    value = Adversarial(**LARGE).loss(model, batch, TrainingPass(model, batch, SEED))
    value.backward()
    assert value > 0
    assert all(param.grad is None for param in model.encoder.parameters())
    assert model.heads["sst"].output.weight.grad.norm() > 0
