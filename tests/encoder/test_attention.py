"""Attention against the formula in float64, and the fused kernel against the readable lines.

Dimensions: B texts, A heads, T tokens, D = head size.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from minbert.encoder.attention import (
    ATTENTION,
    AttentionFunction,
    SelfAttention,
    fused_attention,
    reference_attention,
    scoring_attention,
)
from minbert.encoder.selection import every_token
from minbert.encoder.unpadding import PaddedLayout
from minbert.support.randomness import seeded

B, A, T, D = 3, 4, 9, 5
CPU = torch.device("cpu")

LENGTHS = {
    "no padding": (T, T, T),
    "ragged": (T, 4, 1),
    "one real token each": (1, 1, 1),
    "padding in all": (5, 2, 3),
}


def ragged_mask(lengths: tuple[int, ...], tokens: int = T) -> Tensor:
    return (torch.arange(tokens) < torch.tensor(lengths)[:, None])[:, None, None, :]


MASKS = {
    **{name: ragged_mask(lengths) for name, lengths in LENGTHS.items()},
    "one token a text": ragged_mask((1, 1, 1), tokens=1),
    "hole in the middle": torch.tensor([1, 1, 0, 1, 0, 0, 1, 1, 1]).bool()[None, None, None],
    "padding first": ragged_mask((T, 4, 1)).flip(-1),
}
each_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
PATHS = (fused_attention, scoring_attention, reference_attention)
each_path = pytest.mark.parametrize("attend", PATHS, ids=["fused", "scoring", "reference"])


def inputs(mask: Tensor, dtype: torch.dtype, scale: float = 1.0) -> list[Tensor]:
    """Queries, keys and values that take gradients, for as many tokens as the mask has."""
    drawn = scale * torch.randn(3, B, A, mask.size(-1), D, dtype=torch.float64)
    return [x.to(dtype).requires_grad_() for x in drawn]


def oracle(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> NDArray[np.float64]:
    """The formula over real keys only, text by text: padding is not masked but absent."""
    q, k, v = (x.detach().double().numpy() for x in (query, key, value))
    real = mask.expand(B, 1, 1, -1)[:, 0, 0].numpy()
    out = np.empty_like(q)
    for b in range(B):
        keys, values = k[b][:, real[b]], v[b][:, real[b]]
        scores = np.einsum("aid,ajd->aij", q[b], keys) / math.sqrt(D)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        out[b] = np.einsum("aij,ajd->aid", weights, values)
    return out


@each_path
@each_mask
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-13), (torch.float32, 1e-5), (torch.bfloat16, 5e-2)],
    ids=["fp64", "fp32", "bf16"],
)
def test_formula(
    attend: AttentionFunction, mask: Tensor, dtype: torch.dtype, tolerance: float
) -> None:
    q, k, v = inputs(mask, dtype)
    out = attend(q, k, v, mask, 0.0)
    assert out.dtype is dtype
    np.testing.assert_allclose(
        out.detach().double().numpy(), oracle(q, k, v, mask), rtol=tolerance, atol=tolerance
    )


@each_path
def test_formula_at_extreme_scores(attend: AttentionFunction) -> None:
    mask = MASKS["ragged"]
    q, k, v = inputs(mask, torch.float64, scale=100.0)
    out = attend(q, k, v, mask, 0.0).detach().numpy()
    np.testing.assert_allclose(out, oracle(q, k, v, mask), rtol=1e-10)


@each_mask
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-13), (torch.float32, 1e-5), (torch.bfloat16, 1e-1)],
    ids=["fp64", "fp32", "bf16"],
)
def test_all_paths_agree(mask: Tensor, dtype: torch.dtype, tolerance: float) -> None:
    """Values, and the gradients of queries, keys and values."""
    tensors = inputs(mask, dtype)
    weight = torch.randn(B, A, mask.size(-1), D, dtype=dtype)
    results = []
    for attend in PATHS:
        out = attend(*tensors, mask, 0.0)
        results.append([out, *torch.autograd.grad((out * weight).sum(), tensors)])
    for name, *fast, plain in zip(("out", "dQ", "dK", "dV"), *results, strict=True):
        for value in fast:
            assert plain.dtype is value.dtype is dtype
            torch.testing.assert_close(
                value, plain, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
            )


@each_path
@pytest.mark.parametrize("mask", [MASKS["no padding"], MASKS["ragged"]], ids=["full", "ragged"])
def test_gradients_by_finite_differences(attend: AttentionFunction, mask: Tensor) -> None:
    small = mask[..., :4]
    tensors = [x[:, :1].detach().requires_grad_() for x in inputs(small, torch.float64)]
    torch.autograd.gradcheck(lambda *qkv: attend(*qkv, small, 0.0), tensors, fast_mode=True)


@each_path
def test_padding_is_never_seen(attend: AttentionFunction) -> None:
    """Whatever stands at padding changes nothing, and gets no gradient."""
    mask = MASKS["ragged"]
    q, k, v = inputs(mask, torch.float64)
    out = attend(q, k, v, mask, 0.0)
    _, dk, dv = torch.autograd.grad(out.square().sum(), (q, k, v))
    padding = ~mask.transpose(-1, -2).expand(B, A, T, D)
    assert not dk[padding].any() and not dv[padding].any()
    k2, v2 = (x.detach().clone().masked_fill_(padding, 1e4) for x in (k, v))
    torch.testing.assert_close(attend(q, k2, v2, mask, 0.0), out, rtol=0, atol=0)


@each_path
def test_dropout_replays_with_its_seed(attend: AttentionFunction) -> None:
    mask = MASKS["ragged"]
    q, k, v = inputs(mask, torch.float32)
    runs = []
    for seed in (7, 7, 8):
        with seeded(seed, CPU):
            out = attend(q, k, v, mask, 0.5)
        runs.append([out, *torch.autograd.grad(out.sum(), (q, k, v), retain_graph=True)])
    first, again, other = runs
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], attend(q, k, v, mask, 0.0))


@each_path
def test_dropout_zeroes_weights_at_its_rate_and_keeps_the_mean(attend: AttentionFunction) -> None:
    """With an identity as values the output is the dropped-out weights themselves."""
    size, rate = 64, 0.25
    q, k = torch.randn(2, 8, 4, size, size).unbind(0)
    v = torch.eye(size).expand(8, 4, size, size)
    full = torch.ones(8, 1, 1, size, dtype=torch.bool)
    plain = attend(q, k, v, full, 0.0)
    dropped = attend(q, k, v, full, rate)
    gone = dropped == 0
    assert gone.double().mean().item() == pytest.approx(rate, abs=0.005)
    torch.testing.assert_close(dropped[~gone], plain[~gone] / (1 - rate))


@each_path
def test_no_dropout_takes_no_random_number(attend: AttentionFunction) -> None:
    q, k, v = inputs(MASKS["ragged"], torch.float32)
    before = torch.get_rng_state()
    attend(q, k, v, MASKS["ragged"], 0.0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def by_kernel(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """The calls of torch's kernel."""
    kernel, calls = torch.nn.functional.scaled_dot_product_attention, []

    def spy(*tensors: Tensor, **named: object) -> Tensor:
        calls.append(named)
        return kernel(*tensors, **named)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    return calls


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(("tokens", "scored_by_kernel"), [(1, 0), (32, 0), (33, 1)])
def test_short_texts_are_scored_without_torchs_kernel(
    tokens: int, scored_by_kernel: int, inference: bool, by_kernel: list[dict[str, object]]
) -> None:
    """The caller's choice decides, and inference mode does not."""
    q, mask = torch.randn(2, 1, tokens, 4), torch.ones(2, 1, 1, tokens, dtype=torch.bool)
    with torch.inference_mode(inference):
        scoring_attention(q, q, q, mask, 0.0)
        assert len(by_kernel) == scored_by_kernel
        fused_attention(q, q, q, mask, 0.0)
        assert len(by_kernel) == scored_by_kernel + 1


def test_the_readable_choice_has_no_kernel() -> None:
    assert set(ATTENTION["reference"]) == {reference_attention}
    assert ATTENTION["fused"] == (fused_attention, scoring_attention)


@each_path
def test_module_is_multi_head_attention(attend: AttentionFunction) -> None:
    """torch's own module, with the same weights, says the same."""
    hidden_size, mask = A * D, MASKS["ragged"]
    ours = SelfAttention(hidden_size, 0.0).double()
    theirs = nn.MultiheadAttention(hidden_size, A, batch_first=True, dtype=torch.float64)
    parts = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]).normal_())
        for part, bias in zip(parts, theirs.in_proj_bias.chunk(3), strict=True):
            part.bias.copy_(bias)
        theirs.out_proj.weight.copy_(ours.output.weight)
        theirs.out_proj.bias.copy_(ours.output.bias)
    hidden = torch.randn(B, T, hidden_size, dtype=torch.float64)
    expected, _ = theirs(hidden, hidden, hidden, key_padding_mask=~mask[:, 0, 0])
    layout = PaddedLayout(mask, A)
    found = layout.unflatten(ours(layout.flatten(hidden), every_token(layout), attend))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@each_path
def test_module_drops_out_in_training_only(attend: AttentionFunction) -> None:
    module, hidden = SelfAttention(8, 0.5), torch.randn(B * T, 8)
    tokens = every_token(PaddedLayout(MASKS["ragged"], 2))
    trained = module.train()(hidden, tokens, attend)
    assert not torch.equal(trained, module(hidden, tokens, attend))
    plain = module.eval()(hidden, tokens, attend)
    assert torch.equal(plain, module(hidden, tokens, attend))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 5e-2)], ids=["fp32", "bf16"]
)
@each_path
@each_mask
def test_formula_on_cuda(
    attend: AttentionFunction, mask: Tensor, dtype: torch.dtype, tolerance: float
) -> None:
    q, k, v = inputs(mask, dtype)
    out = attend(q.cuda(), k.cuda(), v.cuda(), mask.cuda(), 0.0)
    np.testing.assert_allclose(
        out.detach().cpu().double().numpy(),
        oracle(q, k, v, mask),
        rtol=tolerance,
        atol=tolerance,
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 5e-2)], ids=["fp32", "bf16"]
)
@each_path
def test_the_kernels_of_published_head_sizes_on_cuda(
    attend: AttentionFunction, dtype: torch.dtype, tolerance: float
) -> None:
    """Other kernels than those of the odd sizes above; they must have the dropout asked for."""
    mask = ragged_mask((64, 40, 3), tokens=64)
    drawn = torch.randn(3, 3, A, 64, 64, dtype=torch.float64)
    q, k, v = (x.to(dtype) for x in drawn)
    out = attend(q.cuda(), k.cuda(), v.cuda(), mask.cuda(), 0.0).cpu().double().numpy()
    np.testing.assert_allclose(out, oracle(q, k, v, mask), rtol=tolerance, atol=tolerance)
    everything = torch.ones_like(mask).cuda()
    identity = torch.eye(64, dtype=dtype, device="cuda").expand(3, A, 64, 64).contiguous()
    kept = attend(torch.zeros_like(q).cuda(), k.cuda(), identity, everything, 0.1).double()
    assert (kept == 0).double().mean().item() == pytest.approx(0.1, abs=0.01)  # of 49,152
    assert kept.mean().item() * 64 == pytest.approx(1, abs=0.01)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@each_path
def test_dropout_replays_on_cuda(attend: AttentionFunction) -> None:
    cuda, mask = torch.device("cuda"), MASKS["ragged"].cuda()
    q, k, v = (x.cuda() for x in inputs(MASKS["ragged"], torch.float32))
    with seeded(7, cuda):
        first = attend(q, k, v, mask, 0.5)
    with seeded(7, cuda):
        assert torch.equal(attend(q, k, v, mask, 0.5), first)


@pytest.mark.parametrize(
    ("dtype", "dropout", "count"),
    [(torch.float32, 0.0, 1), (torch.float32, 0.1, 0), (torch.bfloat16, 0.0, 0)],
)
def test_torchs_kernel_runs_where_it_is_the_faster_one(
    by_kernel: list[dict[str, object]], dtype: torch.dtype, dropout: float, count: int
) -> None:
    mask = MASKS["ragged"]
    fused_attention(*inputs(mask, dtype), mask, dropout)
    assert len(by_kernel) == count
