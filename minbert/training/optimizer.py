"""AdamW by hand (Loshchilov & Hutter 2019, algorithm 2), parameter groups, rate schedules."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class AdamW(Optimizer):
    """Adam with decoupled weight decay.

    With g the gradient, t the step, m and v the moments (`exp_avg`, `exp_avg_sq`):

        m ← β₁ m + (1 - β₁) g
        v ← β₂ v + (1 - β₂) g²
        α = lr · √(1 - β₂ᵗ) / (1 - β₁ᵗ)     (lr itself without `correct_bias`)
        θ ← θ - α m / (√v + ε)
        θ ← θ - lr · weight_decay · θ

    α is the efficient form of the bias correction (Kingma & Ba 2015, end of section 2), which
    leaves ε uncorrected; the decay comes after the update and is not scaled by α. Both as the
    course has them, and unlike torch.optim.AdamW.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        correct_bias: bool = True,
        *,
        fused: bool = True,
    ) -> None:
        """`fused` takes torch's kernel for it, where there is one; otherwise the readable lines.

        Where the attribute `found_inf` is set to a number 1 on the device, a step changes nothing
        (the readable lines still take it for one of gradients 0); the host need not know it.

        Raises ValueError, with the value, for a setting outside its range.
        """
        limits = (("lr", lr, math.inf), ("eps", eps, math.inf), ("weight_decay", weight_decay, 1.0))
        for name, value, top in (*limits, ("beta1", betas[0], 1.0), ("beta2", betas[1], 1.0)):
            if not 0 <= value < top:
                raise ValueError(f"{name} is {value}, must be at least 0 and below {top}")
        settings: dict[str, Any] = {"lr": lr, "betas": betas, "eps": eps}
        settings |= {"weight_decay": weight_decay, "correct_bias": correct_bias}
        super().__init__(params, settings)
        self._fused = fused
        self.found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient. Sparse gradients are refused."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update_group(group)
        return loss

    def _update_group(self, group: dict[str, Any]) -> None:
        by_step: dict[tuple[Any, ...], list[Tensor]] = {}
        for param in group["params"]:
            if param.grad is None:
                continue
            if param.grad.is_sparse:
                raise RuntimeError("AdamW does not support sparse gradients")
            state = self.state[param]
            if not state:
                state["step"] = 0
                state["exp_avg"] = torch.zeros_like(param)
                state["exp_avg_sq"] = torch.zeros_like(param)
            state["step"] += 1
            if self._fused and _fits_kernel(param):
                key = (state["step"], param.device, param.dtype)
                by_step.setdefault(key, []).append(param)
            else:
                grad = param.grad
                if self.found_inf is not None:
                    grad = torch.where(self.found_inf > 0, 0.0, grad)
                reference_update(param, grad, state, group)
        for (step, *_), params in by_step.items():
            states = [self.state[param] for param in params]
            fused_update(params, states, group, step, self.found_inf)


def reference_update(
    param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
) -> None:
    """The equations of `AdamW` for one tensor, line by line. `state` counts this step already."""
    beta1, beta2 = group["betas"]
    exp_avg, exp_avg_sq = state["exp_avg"], state["exp_avg_sq"]
    exp_avg.lerp_(grad, 1 - beta1)
    exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    alpha = _step_size(group, state["step"])
    param.addcdiv_(exp_avg, exp_avg_sq.sqrt().add_(group["eps"]), value=-alpha)
    if group["weight_decay"]:
        param.mul_(1 - group["lr"] * group["weight_decay"])


def fused_update(
    params: Sequence[Tensor],
    states: Sequence[dict[str, Any]],
    group: dict[str, Any],
    step: int,
    found_inf: Tensor | None = None,
) -> None:
    """Update many tensors in torch's kernel, which reads and writes every number once.

    The kernel decays first and corrects ε too, in torch.optim.AdamW's way:

        θ ← (1 - lr' w') θ - lr' / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε')

    With ρ = lr · weight_decay this is the readable update for

        ε' = ε / √(1 - β₂ᵗ),   lr' = (1 - ρ) α (1 - β₁ᵗ) / √(1 - β₂ᵗ),   w' = ρ / lr'
    """
    beta1, beta2 = group["betas"]
    root = math.sqrt(1 - beta2**step)
    decay = group["lr"] * group["weight_decay"]
    lr = (1 - decay) * _step_size(group, step) * (1 - beta1**step) / root
    torch._fused_adamw_(  # type: ignore[call-overload]
        params,
        [param.grad for param in params],
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        [torch.full((), step, dtype=torch.float32, device=params[0].device)] * len(params),
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        weight_decay=decay / lr if decay else 0.0,
        eps=group["eps"] / root,
        amsgrad=False,
        maximize=False,
        found_inf=found_inf,
    )


def _step_size(group: dict[str, Any], step: int) -> float:
    """The step size α of `AdamW`'s equations."""
    beta1, beta2 = group["betas"]
    alpha: float = group["lr"]
    if group["correct_bias"]:
        alpha *= math.sqrt(1 - beta2**step) / (1 - beta1**step)
    return alpha


def _fits_kernel(param: Tensor) -> bool:
    """Whether torch's kernel, which goes through memory from end to end, may have the tensor."""
    assert param.grad is not None
    return (
        param.device.type in ("cpu", "cuda")
        and param.dtype in (torch.float32, torch.float64)
        and param.grad.dtype == param.dtype
        and param.is_contiguous()
        and param.grad.is_contiguous()
    )


def parameter_groups(
    model: nn.Module, weight_decay: float, lr_factors: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Trainable parameters by what they share: matrices decay, biases and LayerNorm do not.

    A parameter whose name begins with a key of `lr_factors` learns at that many times the rate: the
    training loop applies the `lr_factor` of its group (discriminative fine-tuning, Howard & Ruder
    2018, section 3.2).
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, param in model.named_parameters():
        if param.requires_grad:
            factors = (f for start, f in (lr_factors or {}).items() if name.startswith(start))
            groups.setdefault((next(factors, 1.0), param.dim() <= 1), []).append(param)
    return [
        {"params": params, "weight_decay": 0.0 if vector else weight_decay, "lr_factor": factor}
        for (factor, vector), params in sorted(groups.items(), key=lambda group: group[0])
    ]


def optimizer_for(
    model: nn.Module, config: Any, lr_factors: Mapping[str, float] | None = None
) -> AdamW:
    """AdamW over all that trains, by a configuration's `lr`, `betas`, `adam_eps`, `weight_decay`
    and `readable`.
    """
    groups = parameter_groups(model, config.weight_decay, lr_factors)
    fused = not config.readable
    return AdamW(groups, lr=config.lr, betas=config.betas, eps=config.adam_eps, fused=fused)


def warmup_steps(fraction: float, total_steps: int) -> int:
    """⌈fraction · total_steps⌉, exact: 0.07 * 100 is above 7."""
    return math.ceil(Fraction(str(fraction)) * total_steps)


def rate_schedule(
    kind: str, total_steps: int, warmup: float = 0.0, power: float = 1.0
) -> Callable[[int], float]:
    """The factor on lr at a step, counted from 0.

    It rises linearly over the first ⌈warmup · total_steps⌉ steps, so that the first step already
    moves and the last of them has factor 1; then `constant` stays at 1, and `linear` and
    `polynomial` fall as (steps left / steps after warm-up) ** power, with power 1 for `linear`.
    """
    rising = warmup_steps(warmup, total_steps)
    kinds: dict[str, Callable[[float], float]] = {  # of the share of the steps that is left
        "constant": lambda _left: 1.0,
        "linear": lambda left: left,
        "polynomial": lambda left: left**power,
    }
    fall = kinds[kind]

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        left = max(total_steps - step, 0) / max(total_steps - rising, 1)
        return fall(left)

    return factor
