"""SMART's adversarial term against its formulas, and what must hold of its perturbation."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.regularizers.base import TrainingPass
from minbert.regularizers.smart.adversarial import Adversarial
from tests.regularizers import formulas
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
    take,
    tiny_batch,
    tiny_model,
    view_rows,
)

SEED = 77
POLICIES = ("off", "shared", "independent")
BI = tuple(case for case in CASES if case.form == "bi")
LARGE = {"epsilon": 1e-2, "sigma": 1e-2, "eta": 1e-2}


def hold_noise(monkeypatch: pytest.MonkeyPatch, noise: Tensor) -> None:
    """Every perturbation starts from `noise` (V·B, T, H)."""
    monkeypatch.setattr(Adversarial, "_noise", lambda _self, like, _seed: noise.to(like))


def perturbed(term: Adversarial, model: MultitaskBert, batch: Batch, seed: int = SEED) -> Tensor:
    return term.perturbation(model, batch, TrainingPass(model, batch, seed)).detach()


def value_of(term: Adversarial, model: MultitaskBert, batch: Batch) -> float:
    return float(term.loss(model, batch, TrainingPass(model, batch, SEED)).detach())


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


# -------------------------------------------------------------------------------- the perturbation


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("eta", [1e-3, 1e6])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_perturbation_stays_in_the_ball_and_off_the_padding(
    case: Case, eta: float, steps: int
) -> None:
    batch = tiny_batch(case)
    term = Adversarial(epsilon=1e-3, sigma=1.0, eta=eta, steps=steps)
    delta = perturbed(term, tiny_model(case), batch)
    real = batch.tokens.attention_mask.bool()
    assert delta.abs().max() <= 1e-3
    assert torch.count_nonzero(delta[~real]) == 0
    assert torch.count_nonzero(delta[real]) > 0.9 * delta[real].numel()


def test_noise_is_normal_of_deviation_sigma_and_repeats_with_its_seed() -> None:
    term, like = Adversarial(sigma=0.5, epsilon=1e9), torch.zeros(20, 50, 40)
    noise = term._noise(like, 1)
    assert abs(float(noise.mean())) < 0.01
    assert float(noise.std()) == pytest.approx(0.5, rel=0.01)
    assert float((noise.abs() < 0.5).double().mean()) == pytest.approx(0.6827, abs=0.01)
    assert torch.equal(noise, term._noise(like, 1))
    assert not torch.equal(noise, term._noise(like, 2))
    assert term._noise(like.double(), 1).dtype == torch.float64
    assert Adversarial(sigma=0.5, epsilon=0.1)._noise(like, 1).abs().max() <= 0.1


@pytest.mark.parametrize("case", BI, ids=str)
def test_perturbation_is_each_examples_own(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither depends on the rest of the batch nor on the example's place in it."""
    model, batch = tiny_model(case), tiny_batch(case)
    term = Adversarial(epsilon=1.0, sigma=1e-3, eta=1e-2, steps=2)
    noise = 1e-3 * torch.randn(len(batch.tokens.input_ids), 7, 16, dtype=torch.float64)
    hold_noise(monkeypatch, noise)
    together = perturbed(term, model, batch)
    for indices in ([0], [1], [2], [2, 0, 1], [1, 2]):
        rows = view_rows(batch, indices)
        hold_noise(monkeypatch, noise[rows])
        apart = perturbed(term, model, take(batch, indices))
        torch.testing.assert_close(apart, together[rows], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", [c for c in CASES if c.views == 2], ids=str)
def test_ascent_moves_both_sentences_of_a_pair_on_one_scale(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = tiny_batch(case)
    noise = 1e-3 * torch.randn(6, 7, 16, dtype=torch.float64)
    hold_noise(monkeypatch, noise)
    term = Adversarial(epsilon=1e3, sigma=1e-3, eta=1.0)
    real = batch.tokens.attention_mask[:, :, None]
    steps = (perturbed(term, tiny_model(case), batch) - noise * real).unflatten(0, (2, 3))
    largest = steps.abs().amax(dim=(2, 3))  # of each text, (V, B)
    torch.testing.assert_close(largest.amax(dim=0), torch.ones(3, dtype=torch.float64))
    assert (largest > 1e-3).all()
    assert (largest.amin(dim=0) < 0.999).all()


def test_cls_and_sep_are_perturbed_too() -> None:
    case = Case("sst", "bi")
    batch = tiny_batch(case)
    delta = perturbed(Adversarial(**LARGE), tiny_model(case), batch)
    assert (delta[:, 0].abs().amax(-1) > 0).all()
    for row, length in enumerate(batch.tokens.attention_mask.sum(1)):
        assert delta[row, length - 1].abs().max() > 0


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_of_ascent_raises_the_divergence(case: Case) -> None:
    model, batch = tiny_model(case), tiny_batch(case)
    small = {"epsilon": 1e-2, "sigma": 1e-4, "eta": 1e-3}
    values = [value_of(Adversarial(**small, steps=steps), model, batch) for steps in (0, 1, 2)]
    assert values[0] < values[1] < values[2]


def test_perturbation_is_a_constant_and_the_ascent_leaves_no_gradients() -> None:
    case = Case("sts", "relational")
    model, batch = tiny_model(case), tiny_batch(case)
    training = TrainingPass(model, batch, SEED)
    delta = Adversarial(**LARGE, steps=3).perturbation(model, batch, training)
    assert not delta.requires_grad
    assert all(param.grad is None for param in model.parameters())


def test_ascent_asks_for_no_weight_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook on a weight's gradient would see one computed, even if it were thrown away."""
    case = Case("para", "bi")
    model, batch = tiny_model(case), tiny_batch(case)
    seen: list[str] = []
    for name, param in model.named_parameters():
        param.register_hook(lambda _grad, name=name: seen.append(name))
    asked: list[tuple[int, ...]] = []
    grad = torch.autograd.grad

    def spy(outputs: Tensor, inputs: Tensor, **settings: object) -> tuple[Tensor, ...]:
        asked.append(tuple(inputs.shape))
        return grad(outputs, inputs, **settings)

    monkeypatch.setattr(torch.autograd, "grad", spy)
    perturbed(Adversarial(**LARGE, steps=2), model, batch)
    assert seen == []
    assert asked == [(6, 7, 16), (6, 7, 16)]


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
