"""What must hold of SMART's perturbation: the ball, the padding, each example's own ascent."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from minbert.regularizers.base import TrainingPass
from minbert.regularizers.smart.adversarial import Adversarial
from tests.regularizers.ascents import BI, LARGE, SEED, hold_noise, perturbed, value_of
from tests.tiny_models import CASES, Case, take, tiny_batch, tiny_model, view_rows


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
