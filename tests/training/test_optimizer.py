"""AdamW against the docstring's formula in plain loops, and its parameter groups."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from minbert.encoder.config import EncoderConfig
from minbert.training import optimizer as optimizer_module
from minbert.training.optimizer import AdamW, optimizer_for, parameter_groups
from tests.helpers import make_encoder

Vector = NDArray[np.float64]

SETTINGS: dict[str, dict[str, Any]] = {
    "course defaults": {},
    "no bias correction": {"correct_bias": False},
    "weight decay": {"weight_decay": 0.1},
    "decay, no correction": {"weight_decay": 0.1, "correct_bias": False},
    "R3F's betas": {"betas": (0.9, 0.98), "weight_decay": 0.01},
    "large epsilon": {"eps": 0.1},
    "no momentum": {"betas": (0.0, 0.0)},
}
each_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
each_path = pytest.mark.parametrize("fused", [True, False], ids=["fused", "readable"])


def formula(
    theta: Vector,
    grads: Vector,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    correct_bias: bool = True,
) -> Vector:
    """The docstring, a number at a time: no vector operation, no torch."""
    out = theta.copy()
    for i in range(len(theta)):
        x, m, v = float(theta[i]), 0.0, 0.0
        for t, g in enumerate(grads[:, i].tolist(), start=1):
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g * g
            alpha = lr
            if correct_bias:
                alpha = lr * math.sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t)
            x = x - alpha * m / (math.sqrt(v) + eps)
            x = x - lr * weight_decay * x
        out[i] = x
    return out


def gradients(steps: int, size: int) -> Vector:
    """Noise of very different sizes, with exact zeros among it."""
    rng = np.random.default_rng(0)
    grads = rng.normal(size=(steps, size)) * 10.0 ** rng.integers(-6, 3, size=size)
    grads[rng.random(grads.shape) < 0.1] = 0.0
    return grads


def run(theta: Vector, grads: Vector, dtype: torch.dtype, **settings: Any) -> Vector:
    param = nn.Parameter(torch.tensor(theta, dtype=dtype))
    optimizer = AdamW([param], **settings)
    for grad in torch.tensor(grads, dtype=dtype):
        param.grad = grad.clone()
        optimizer.step()
    return param.detach().double().numpy()


@each_path
@each_setting
def test_fp64_is_the_formula(settings: dict[str, Any], fused: bool) -> None:
    theta, grads = np.linspace(-2, 2, 8), gradients(1000, 8)
    found = run(theta, grads, torch.float64, lr=1e-3, fused=fused, **settings)
    np.testing.assert_allclose(found, formula(theta, grads, 1e-3, **settings), rtol=0, atol=1e-12)


@each_path
@each_setting
def test_fp32_stays_near_the_formula(settings: dict[str, Any], fused: bool) -> None:
    theta = np.linspace(-2, 2, 8).astype(np.float32).astype(np.float64)
    grads = gradients(1000, 8).astype(np.float32).astype(np.float64)
    found = run(theta, grads, torch.float32, lr=1e-3, fused=fused, **settings)
    expected = formula(theta, grads, 1e-3, **settings)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@each_setting
def test_both_paths_take_the_same_steps(settings: dict[str, Any], tiny: EncoderConfig) -> None:
    """From equal weights, moments and gradients, whatever the rate; one parameter comes late."""
    readable, fast = make_encoder(tiny), make_encoder(tiny)
    optimizers = AdamW(readable.parameters(), fused=False), AdamW(fast.parameters(), fused=True)
    for optimizer in optimizers:
        optimizer.param_groups[0].update(settings)
    for step in range(30):
        fast.load_state_dict(readable.state_dict())
        optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
        for model in (readable, fast):
            torch.manual_seed(step)
            for param in model.parameters():
                param.grad = torch.randn_like(param)
            model.pooler.bias.grad = None if step < 3 else model.pooler.bias.grad
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = 1e-2 * (step % 4)
            optimizer.step()
        for name, param in readable.named_parameters():
            torch.testing.assert_close(fast.get_parameter(name), param, rtol=1e-6, atol=1e-7)
    assert optimizers[1].state[fast.pooler.bias]["step"] == 27


def test_the_kernel_is_taken_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory in another order, and a number type it has no equal for, go the readable way."""
    taken: list[Tensor] = []
    kernel = optimizer_module.fused_update

    def spied(params: Any, *rest: Any) -> None:
        taken.extend(params)
        kernel(params, *rest)

    monkeypatch.setattr(optimizer_module, "fused_update", spied)
    plain, turned = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(3, 2).T)
    half = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    for param in (plain, turned, half):
        param.grad = torch.ones_like(param)
    AdamW([plain, turned, half], lr=0.1).step()
    assert [id(param) for param in taken] == [id(plain)]
    assert torch.equal(plain, turned) and half[0] < 1


def test_tensors_of_any_shape_are_updated_number_by_number() -> None:
    param = nn.Parameter(torch.randn(3, 4, 2, dtype=torch.float64).transpose(0, 1))
    before, grad = param.detach().clone(), torch.randn(4, 3, 2, dtype=torch.float64)
    optimizer = AdamW([param], lr=1e-2)
    for _ in range(3):
        param.grad = grad.clone()
        optimizer.step()
    grads = np.stack([grad.numpy().ravel()] * 3)
    expected = formula(before.numpy().ravel(), grads, 1e-2)
    np.testing.assert_allclose(param.detach().numpy().ravel(), expected, rtol=1e-13)


def test_without_decay_and_epsilon_it_is_torchs_adam() -> None:
    """Where ε vanishes the two forms of the bias correction are the same."""
    ours, theirs = (nn.Parameter(torch.linspace(1, 2, 5, dtype=torch.float64)) for _ in range(2))
    optimizers = AdamW([ours], lr=1e-2, eps=0.0), torch.optim.Adam([theirs], lr=1e-2, eps=0.0)
    for grad in torch.randn(50, 5, dtype=torch.float64):
        for param, optimizer in zip((ours, theirs), optimizers, strict=True):
            param.grad = grad.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_rate_and_decay_are_read_from_the_group_at_each_step() -> None:
    slow, fast = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    groups = [{"params": [slow], "lr": 0.0}, {"params": [fast], "weight_decay": 0.5}]
    optimizer = AdamW(groups, lr=0.1)
    for param in (slow, fast):
        param.grad = torch.zeros(2, dtype=torch.float64)
    optimizer.step()
    optimizer.param_groups[1]["lr"] = 0.2
    optimizer.step()
    assert torch.equal(slow.detach(), torch.ones(2, dtype=torch.float64))
    np.testing.assert_allclose(fast.detach().numpy(), [0.95 * 0.9] * 2, rtol=1e-15)


def test_parameters_without_a_gradient_are_left_alone() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = AdamW([used, unused], weight_decay=0.1)
    used.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(unused, torch.ones(2)) and unused not in optimizer.state
    assert not torch.equal(used, torch.ones(2))


def test_each_parameter_counts_its_own_steps() -> None:
    """A task that comes late still gets its bias correction from its own first step."""
    early, late = (nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2))
    optimizer = AdamW([early, late], lr=0.1)
    for step in range(5):
        early.grad = torch.ones(1, dtype=torch.float64)
        late.grad = torch.ones(1, dtype=torch.float64) if step == 4 else None
        optimizer.step()
    expected = formula(np.zeros(1), np.ones((1, 1)), 0.1)
    np.testing.assert_allclose(late.detach().numpy(), expected, rtol=1e-13)


def test_closure_is_evaluated_with_gradients() -> None:
    param = nn.Parameter(torch.tensor([3.0]))
    optimizer = AdamW([param])

    def closure() -> float:
        optimizer.zero_grad()
        loss = param.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 9.0
    assert param.item() < 3.0
    assert optimizer.step() is None


def test_sparse_gradients_are_refused() -> None:
    embedding = nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse"):
        AdamW(embedding.parameters()).step()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("lr", {"lr": -1e-3}),
        ("lr", {"lr": math.nan}),
        ("lr", {"lr": math.inf}),
        ("eps", {"eps": -1e-9}),
        ("weight_decay", {"weight_decay": -0.1}),
        ("weight_decay", {"weight_decay": 1.0}),
        ("beta1", {"betas": (1.0, 0.9)}),
        ("beta1", {"betas": (-0.1, 0.9)}),
        ("beta2", {"betas": (0.9, 1.0)}),
        ("beta2", {"betas": (0.9, math.nan)}),
    ],
)
def test_settings_outside_their_range(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{name} is "):
        AdamW([nn.Parameter(torch.zeros(1))], **settings)


def test_a_restored_state_goes_on_as_if_never_stopped() -> None:
    grads = torch.randn(20, 3, 2)

    def steps(param: nn.Parameter, optimizer: AdamW, which: slice) -> None:
        for grad in grads[which]:
            param.grad = grad.clone()
            optimizer.step()

    whole, first = (nn.Parameter(torch.ones(3, 2)) for _ in range(2))
    steps(whole, AdamW([whole], weight_decay=0.1), slice(0, 20))
    optimizer = AdamW([first], weight_decay=0.1)
    steps(first, optimizer, slice(0, 9))
    saved = copy.deepcopy(optimizer.state_dict())
    second = nn.Parameter(first.detach().clone())
    resumed = AdamW([second], lr=9.0)  # the saved settings win
    resumed.load_state_dict(saved)
    steps(second, resumed, slice(9, 20))
    assert torch.equal(second, whole)


def test_biases_and_layer_norms_do_not_decay() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(3))
    decayed, exempt = parameter_groups(model, 0.01)
    assert decayed["weight_decay"] == 0.01 and exempt["weight_decay"] == 0.0
    embedding, linear, norm = model
    assert list(map(id, decayed["params"])) == [id(embedding.weight), id(linear.weight)]
    assert set(map(id, exempt["params"])) == {id(linear.bias), id(norm.weight), id(norm.bias)}


def test_a_part_of_the_model_can_learn_at_a_rate_of_its_own() -> None:
    model = nn.ModuleDict({"body": nn.Linear(3, 2), "heads": nn.Linear(2, 1)})
    groups = parameter_groups(model, 0.01, {"heads.": 10.0})
    found = {
        (group["lr_factor"], group["weight_decay"]): [id(p) for p in group["params"]]
        for group in groups
    }
    body, heads = model["body"], model["heads"]
    assert found == {
        (1.0, 0.01): [id(body.weight)],
        (1.0, 0.0): [id(body.bias)],
        (10.0, 0.01): [id(heads.weight)],
        (10.0, 0.0): [id(heads.bias)],
    }


def test_frozen_parameters_are_in_no_group() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    params = [p for group in parameter_groups(model, 0.01) for p in group["params"]]
    assert set(map(id, params)) == set(map(id, model[1].parameters()))
    model[1].bias.requires_grad_(False)
    assert len(parameter_groups(model, 0.01)) == 1  # AdamW refuses an empty group


def test_the_optimizer_of_a_configuration_has_its_settings() -> None:
    given = {"lr": 3e-4, "betas": (0.8, 0.9), "adam_eps": 1e-5, "weight_decay": 0.1}
    model = torch.nn.Linear(2, 2)
    for readable in (False, True):
        config = SimpleNamespace(**given, readable=readable)
        made = optimizer_for(model, config, {"weight": 10.0})
        for group in made.param_groups:
            assert (group["lr"], group["betas"], group["eps"]) == (3e-4, (0.8, 0.9), 1e-5)
        settings = [(group["lr_factor"], group["weight_decay"]) for group in made.param_groups]
        assert settings == [(1.0, 0.0), (10.0, 0.1)]
        assert made._fused is not readable


@each_path
def test_a_step_that_found_infinity_keeps_every_number_finite(fused: bool) -> None:
    """The fused update is left out; the readable one takes the gradients for 0."""
    params = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2, 2))]
    optimizer = AdamW(params, lr=0.1, fused=fused)
    for found in (1.0, 0.0):
        for param in params:
            param.grad = torch.full_like(param, math.nan if found else 1.0)
        optimizer.found_inf = torch.tensor(found)
        optimizer.step()
        moved = [bool((param != 1).any()) for param in params]
        assert moved == [not found] * 2
        assert all(bool(param.isfinite().all()) for param in params)
