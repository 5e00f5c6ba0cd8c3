"""One objective for all ranks: each differentiates part of a batch, and the gradients add up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from minbert.support.randomness import derive_seed
from minbert.support.signals import StopRequest
from minbert.training import ranks
from minbert.training.plan import M, StepBatch, TrainingObjective


class DivisibleBatch(StepBatch, Protocol):
    """A batch that can be shared out. `minbert.data.batches.Batch` is one."""

    def part(self: D, first: int, step: int) -> D:
        """The examples `first`, `first` + `step`, ..."""


D = TypeVar("D", bound=DivisibleBatch)


class SharedObjective(Generic[M, D]):
    """An objective `inner` whose gradients and values are the whole batch's on every rank.

    Losses and logged values must be means over examples, so that a rank's part counts by its size.
    Each rank draws masks and noise of its own.
    """

    def __init__(self, inner: TrainingObjective[M, D], stop: StopRequest) -> None:
        """`stop` is obeyed by every rank after the same step, whichever rank got the signal."""
        self._inner, self._stop = inner, stop
        stop.shared = True

    def backward(self, model: M, batch: D, seed: int, step: int | None = None) -> dict[str, Tensor]:
        """Add the batch's gradients. Raises RunError where a rank is gone."""
        params = [param for param in model.parameters() if param.requires_grad]
        before = {param: param.grad for param in params if param.grad is not None}
        for param in before:
            param.grad = None
        part, share, part_seed = self._part(batch, seed)
        values = self._inner.backward(model, part, part_seed, step)
        added = [param for param in params if param.grad is not None]
        _sum(added, values, share)
        for param, gradient in before.items():
            param.grad = gradient if param.grad is None else gradient + param.grad
        return values

    def after_step(self, model: M) -> None:
        """Do what the inner objective does, and agree with the other ranks whether to stop."""
        self._inner.after_step(model)
        self._stop.signum = ranks.highest(self._stop.asked or 0) or None

    def state_dict(self) -> dict[str, Tensor]:
        """The inner objective's state, which is alike on all ranks."""
        return self._inner.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the inner objective's state."""
        self._inner.load_state_dict(state)

    def _part(self, batch: D, seed: int) -> tuple[D, float, int]:
        """This rank's examples, their share of all, and the seed for them.

        If there are fewer examples than ranks, every rank takes them all, by the same draws.
        """
        rank, size, count = ranks.rank(), ranks.size(), len(batch.ids)
        if count < size:
            return batch, 1 / size, seed
        part = batch.part(rank, size)
        return part, len(part.ids) / count, derive_seed(seed, "rank", rank)


def _sum(params: Sequence[nn.Parameter], values: dict[str, Tensor], share: float) -> None:
    """Replace gradients and values by the ranks' weighted sums, all in one exchange."""
    numbers = {name: value.detach().reshape(1) for name, value in values.items()}
    parts = [*(param.grad.reshape(-1) for param in params if param.grad is not None)]
    everything = torch.cat([*parts, *numbers.values()]).mul_(share)
    sums = iter(ranks.summed(everything).split([*map(len, parts), *[1] * len(numbers)]))
    for param in params:
        param.grad = next(sums).view_as(param)
    for name in numbers:
        values[name] = next(sums)[0]
