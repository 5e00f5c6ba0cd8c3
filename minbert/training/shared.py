"""One objective for all ranks: each differentiates its part of a batch; the gradients add up."""

from __future__ import annotations

from typing import Generic

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from minbert.training import group
from minbert.training.plan import ByPasses, D, M, TrainingObjective


def _wrapped(model: nn.Module) -> DistributedDataParallel:
    """What takes a loss as it is, finds its weights by its graph, and exchanges their gradients."""
    weights = [own for own in model.parameters() if own.requires_grad]
    idle = nn.Parameter(weights[0].detach().new_zeros(1))  # torch warns where all are used
    step = nn.Identity()
    step.weights = nn.ParameterList([*weights, idle])
    # where it looks for unused weights, it never adds up in another order after --resume
    return DistributedDataParallel(step, find_unused_parameters=True)


class SharedObjective(Generic[M, D]):
    """An objective `inner` whose gradients and values are the whole batch's on every rank."""

    def __init__(self, inner: ByPasses[M, D]) -> None:
        self._inner = inner
        self._wrapper: DistributedDataParallel | None = None
        # what follows a step, and the state, are alike on all ranks
        self.after_step = inner.after_step
        self.state_dict, self.load_state_dict = inner.state_dict, inner.load_state_dict

    def backward(
        self, model: M, batch: D, seed: int, step: int | None = None, *, more: bool = False
    ) -> dict[str, Tensor]:
        """Add this rank's gradients; in a step's last batch all ranks'. Raises RunError."""
        count, share = group.size(), 1 / group.size()
        if len(batch.ids) >= count:  # else all ranks take all rows, by the same draws
            batch, share, seed = batch.part(slice(group.rank(), None, count), seed)
        wrapper = self._wrapper = self._wrapper or _wrapped(model)

        def differentiate(loss: Tensor, last: bool) -> None:
            loss = loss * (share * count)  # since the wrapper takes the ranks' mean
            with group.losses_named():
                (wrapper(loss) if last and not more else loss).backward()

        values = self._inner.passes(model, batch, seed, step, differentiate)
        sums = group.summed(share * torch.stack([value.double() for value in values.values()]))
        return dict(zip(values, sums, strict=True))


def shared(objective: ByPasses[M, D]) -> TrainingObjective[M, D]:
    """The objective as the group trains it; as it is where a process trains alone."""
    return objective if group.size() == 1 else SharedObjective(objective)
