"""Products of fp32 matrices on units that read fewer bits, of which some GPUs have far more.

Tensor cores take an fp32 number by the first 11 of its 24 bits (TF32), and add products in fp32.
With h a number so cut and l = x - h, which is cut in its turn,

    x w ≈ l_x h_w + h_x l_w + h_x h_w

up to 2⁻¹⁹ |x w| at worst. A sum over 384 numbers and more is off by at most twice what fp32's own
is off by. The three are one product of matrices with rows three times as long; small terms come
first, so that they are not lost. (Ootomo & Yokota 2022, "Recovering single precision accuracy from
Tensor Cores while surpassing the FP32 theoretical peak performance".)

Dimensions: N rows, K inputs, M outputs.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_HIGH = ~0x1FFF  # of fp32's bits those that TF32 has
# Where l and h stand in the long rows, whose parts are numbered 0, 1, 2.
_LEFT, _RIGHT = (0, slice(1, 3)), (1, slice(0, 3, 2))
# (major, minor) of the GPUs where it pays: A100, H100 and H200, B200, B300. Others of their time
# (A10, L4, RTX) have more units for fp32, and fewer for TF32.
_PAYS = ((8, 0), (9, 0), (10, 0), (10, 3))


def split_products_pay(device: torch.device) -> bool:
    """Whether the device multiplies fp32 matrices faster by split products."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) in _PAYS


class SplitProducts(TorchFunctionMode):
    """A context in which linear layers over fp32 vectors multiply by split products."""

    def __torch_function__(
        self,
        func: Any,
        _types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.linear and args[0].dtype == torch.float32:
            return split_linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def split_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """X Wᵀ + b, (..., K) to (..., M), for `weight` (M, K) and `bias` (M,).

    Two functions share the gradients, so that torch computes those of weights only where they are
    asked for: SMART's ascent wants x's alone.
    """
    rows = x.flatten(0, -2)
    products = _ToInputs.apply(rows, weight.detach())
    return (products + _ToWeights.apply(rows.detach(), weight, bias)).unflatten(0, x.shape[:-1])


def split_product(x: Tensor, w: Tensor) -> Tensor:
    """X wᵀ, (N, K) and (M, K) to (N, M), nearly as exact as in fp32."""
    left, right = _long_rows(x, *_LEFT), _long_rows(w, *_RIGHT)
    if x.device.type != "cuda":
        left, right = _cut(left), _cut(right)  # what a tensor core does by itself
    with _tf32():
        return left @ right.T


def _long_rows(x: Tensor, low: int, high: slice) -> Tensor:
    """Rows (N, K) to rows (N, 3 K) that have h in two places and l in one. (Two kernels.)"""
    rows = x.new_empty(len(x), 3, x.size(1))
    bits = x.view(torch.int32)[:, None].expand(-1, 2, -1)
    torch.bitwise_and(bits, _HIGH, out=rows.view(torch.int32)[:, high])
    torch.sub(x, rows[:, 2], out=rows[:, low])
    return rows.flatten(1)


def _cut(x: Tensor) -> Tensor:
    """The numbers as TF32 has them."""
    return (x.view(torch.int32) & _HIGH).view(torch.float32)


@contextlib.contextmanager
def _tf32() -> Iterator[None]:
    """Let torch's products of fp32 matrices on a GPU be TF32's within the block."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


class _ToInputs(torch.autograd.Function):
    """x wᵀ for constant w (M, K), with the gradient of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return split_product(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return split_product(gradient, weight.T), None


class _ToWeights(torch.autograd.Function):
    """b for each of the constant rows x (N, K), with the gradients of x wᵀ + b to w and b."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return bias.expand(len(x), -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor]:
        (x,) = ctx.saved_tensors
        return None, split_product(gradient.T, x.T), gradient.sum(dim=0)
