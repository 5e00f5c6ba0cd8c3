"""What is wrong with the outputs of a function, in one line that helps whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
TOLERANCE = 1e-4  # of the largest expected number


@dataclass(frozen=True)
class Mistake:
    """The outputs of a known mistake, with what is said to whoever makes it."""

    words: str
    outputs: Tensors


def problem(
    found: Tensors, expected: Tensors, mistakes: Sequence[Mistake] = (), *, numbers: bool = True
) -> str | None:
    """Compare outputs by name; None where all is well.

    A missing output or another shape is named first, then a known mistake, else the largest
    difference and its place. Without `numbers` nothing expected is told.
    """
    for name, right in expected.items():
        if (said := _unusable(name, found.get(name), right)) is not None:
            return said
    if agree(found, expected):
        return None
    known = next((m.words for m in mistakes if agree(found, m.outputs)), None)
    return known or _difference(found, expected, numbers=numbers)


def agree(found: Tensors, expected: Tensors) -> bool:
    """Whether all outputs are there and near enough to what is expected."""
    return all(
        name in found and found[name].shape == right.shape and _near(found[name], right)
        for name, right in expected.items()
    )


def _unusable(name: str, tensor: object, right: Tensor) -> str | None:
    if not isinstance(tensor, Tensor):
        return f"{name}: is {type(tensor).__name__}, not a tensor"
    if tensor.shape != right.shape:
        return f"{name}: has shape {tuple(tensor.shape)}, should have {tuple(right.shape)}"
    if not torch.isfinite(tensor.double()).all() and torch.isfinite(right.double()).all():
        return f"{name}: holds numbers that are not finite (nan or inf)"
    return None


def _near(tensor: Tensor, right: Tensor) -> bool:
    return bool(_distances(tensor, right).max() <= _allowed(right)) if right.numel() else True


def _distances(tensor: Tensor, right: Tensor) -> Tensor:
    return (tensor.detach().double() - right.double()).abs()


def _allowed(right: Tensor) -> float:
    return TOLERANCE * float(right.double().abs().max()) + 1e-12


def _difference(found: Tensors, expected: Tensors, *, numbers: bool) -> str:
    name = next(n for n, right in expected.items() if not _near(found[n], right))
    tensor, right = found[name].detach().double(), expected[name].double()
    distances = _distances(tensor, right)
    share = float((distances > _allowed(right)).double().mean())
    said = f"{name}: {share:.0%} of its numbers are wrong"
    if not numbers:
        return said
    place = tuple(int(i) for i in torch.unravel_index(distances.argmax(), distances.shape))
    found_there, right_there = float(tensor[place]), float(right[place])
    return (
        f"{said}, most of all at {list(place)}, where it has {found_there:.6g} "
        f"and should have {right_there:.6g}"
    )
