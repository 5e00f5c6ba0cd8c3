"""What an exercise is: random inputs, and a call of the functions that a step is about.

What a function needs of other steps is stood in for here, so that an error in one step shows in
that step alone. Inputs hold every number that the outputs depend on, weights included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minbert.classroom.judge import Tensors

_WEIGHT = "weight of "


@dataclass(frozen=True)
class Exercise:
    """A case of a step: `inputs` draws what `run` is given; `run` returns what is compared."""

    name: str
    inputs: Callable[[torch.Generator], Tensors]
    run: Callable[[Tensors], Tensors]

    def outputs(self, inputs: Tensors) -> Tensors:
        """What `run` returns of copies of the inputs, without gradients."""
        found = self.run({name: tensor.clone() for name, tensor in inputs.items()})
        return {name: tensor.detach() for name, tensor in found.items()}


def normal(source: torch.Generator, *shape: int) -> Tensor:
    """Numbers of N(0, 1), in double precision."""
    return torch.randn(*shape, generator=source, dtype=torch.float64)


def mask_of(lengths: Sequence[int]) -> Tensor:
    """(B, T) of 0 and 1: 1 at the tokens of texts of these lengths."""
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


def weights_of(module: nn.Module, source: torch.Generator) -> dict[str, Tensor]:
    """Random weights for a module, all of a size that shows, as inputs."""
    return {
        f"{_WEIGHT}{name}": 0.5 * normal(source, *tensor.shape)
        for name, tensor in module.state_dict().items()
    }


def with_weights(module: nn.Module, inputs: Mapping[str, Tensor]) -> nn.Module:
    """The module in double precision, with the weights that `weights_of` drew for it."""
    own = {k.removeprefix(_WEIGHT): t for k, t in inputs.items() if k.startswith(_WEIGHT)}
    module.double().load_state_dict(own)
    return module


class Uneven(nn.Module):
    """Stands for dropout: it scales each number by its place, so that it shows where it acts."""

    p = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """(..., H) to (..., H)."""
        return x * torch.linspace(0.5, 1.5, x.size(-1), dtype=x.dtype)


def gradient(output: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Gradients of a weighted sum of `output`; zeros where it does not depend on an input."""
    probe = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view(output.shape)
    loss = (output * probe).sum()
    if not loss.requires_grad:
        return tuple(map(torch.zeros_like, inputs))
    found = torch.autograd.grad(loss, inputs, allow_unused=True)
    return tuple(
        torch.zeros_like(given) if grad is None else grad
        for given, grad in zip(inputs, found, strict=True)
    )
