"""Split products against float64, beside fp32's own; their gradients; where they are used."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.encoder import split_products
from minbert.encoder.config import EncoderConfig
from minbert.encoder.split_products import SplitProducts, _cut, split_linear, split_product
from tests.helpers import make_encoder, make_model, random_dataset, whole_batch


def worst(found: Tensor, exact: Tensor, size: Tensor) -> float:
    """The largest error, as a share of the sum of the sizes of what is summed."""
    return ((found.double() - exact).abs() / size).max().item()


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e12])
@pytest.mark.parametrize(("inputs", "most"), [(8, 2.0**-19), (768, 2.0**-22)])
def test_they_are_nearly_as_exact_as_fp32s_own(inputs: int, most: float, scale: float) -> None:
    x, w = scale * torch.randn(40, inputs), torch.randn(30, inputs)
    exact, size = x.double() @ w.double().T, x.double().abs() @ w.double().abs().T
    found, own, cut = (
        worst(product, exact, size)
        for product in (split_product(x, w), x @ w.T, _cut(x) @ _cut(w).T)
    )
    assert own / 8 < found < most < cut / 50  # which TF32 alone would miss


def test_torchs_own_products_stay_as_they_were() -> None:
    before = torch.get_float32_matmul_precision()
    split_product(torch.ones(2, 3), torch.ones(4, 3))
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize("shape", [(5, 24), (2, 9, 24)], ids=str)
def test_gradients_are_those_of_a_linear_layer(shape: tuple[int, ...]) -> None:
    made = [torch.randn(shape), torch.randn(16, 24), torch.randn(16)]
    found = [tensor.clone().requires_grad_() for tensor in made]
    exact = [tensor.double().requires_grad_() for tensor in made]
    split_linear(*found).square().sum().backward()
    F.linear(*exact).square().sum().backward()
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.grad is not None and theirs.grad is not None
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-5, atol=1e-4)


def test_what_asks_for_inputs_gradients_computes_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, b = (
        torch.randn(5, 24).requires_grad_(),
        nn.Parameter(torch.randn(16, 24)),
        torch.zeros(16),
    )
    out = split_linear(x, w, b).sum()
    shapes: list[torch.Size] = []

    def noted(a: Tensor, b: Tensor) -> Tensor:
        shapes.append(a.shape)
        return a @ b.T

    monkeypatch.setattr(split_products, "split_product", noted)
    torch.autograd.grad(out, x, retain_graph=True)
    assert shapes == [(5, 16)]
    out.backward()
    assert sorted(shapes) == [(5, 16), (5, 16), (16, 5)]


def test_an_encoder_computes_by_them_in_the_context_alone(
    tiny: EncoderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make_encoder(tiny).eval()
    ids = torch.randint(5, 60, (3, 7))
    plain = encoder(ids, torch.ones_like(ids))["pooler_output"]
    calls: list[int] = []
    monkeypatch.setattr(
        split_products, "split_linear", lambda *a: calls.append(1) or split_linear(*a)
    )
    with SplitProducts():
        split = encoder(ids, torch.ones_like(ids))["pooler_output"]
    layers = sum(isinstance(module, nn.Linear) for module in encoder.modules())
    assert len(calls) == layers
    torch.testing.assert_close(split, plain, rtol=0, atol=1e-6)
    encoder(ids, torch.ones_like(ids))
    with SplitProducts():
        encoder.double()(ids, torch.ones_like(ids))
    assert len(calls) == layers


def test_exact_passes_of_a_lowered_model_go_by_them_and_no_others(
    tiny: EncoderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[bool] = []
    monkeypatch.setattr(SplitProducts, "__enter__", lambda self: entered.append(True) or self)
    monkeypatch.setattr(SplitProducts, "__exit__", lambda *_: None)
    batch = whole_batch(random_dataset("sst", 4))
    for autocast, exact, expected in (
        (torch.bfloat16, True, 1),
        (torch.bfloat16, False, 0),
        (None, True, 0),  # its training pass is not split, and both branches must be alike
    ):
        entered.clear()
        model = make_model(make_encoder(tiny), ["sst"], autocast=autocast, split_products=True)
        model(batch, mask_seed=1, exact=exact)
        assert len(entered) == expected
    model = make_model(make_encoder(tiny), ["sst"], autocast=torch.bfloat16)
    model(batch, mask_seed=1)
    assert not entered


@pytest.mark.parametrize(
    ("capability", "pays"), [((9, 0), True), ((8, 0), True), ((8, 6), False), ((7, 5), False)]
)
def test_they_pay_on_few_gpus(
    capability: tuple[int, int], pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert split_products.split_products_pay(torch.device("cuda")) is pays
    assert not split_products.split_products_pay(torch.device("cpu"))
