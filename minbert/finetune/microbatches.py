"""A batch in pieces, so that it may be larger than memory; the gradient is the whole batch's.

Pieces are consecutive rows, each with masks and noise of its own.
"""

import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.support.console import log
from minbert.training.plan import Alone, ByPasses, Differentiable, Differentiate, StepAgain

SIZE = "micro_batch_size"  # its key in checkpoints


class MicroBatches(Differentiable[MultitaskBert, Batch]):
    """The objective `inner` on at most `size` rows at a time, or on a whole batch for None.

    Losses and logged values must be means over examples, so that a piece counts by its share.
    """

    def __init__(
        self, inner: ByPasses[MultitaskBert, Batch], size: int | None, *, halves: bool = False
    ) -> None:
        """With `halves`, `size` is halved, for good, where the device's memory runs out."""
        self.inner, self.size, self._halves = inner, size, halves
        self.after_step = inner.after_step

    def passes(
        self,
        model: MultitaskBert,
        batch: Batch,
        seed: int,
        step: int | None,
        differentiate: Differentiate,
    ) -> dict[str, Tensor]:
        """Hand over the inner objective's losses of each piece, weighted by the piece's share.

        Raises StepAgain where the step must begin again in halves.
        """
        count, values = len(batch.ids), dict[str, Tensor]()
        size = min(self.size or count, count)
        try:
            if size == count:
                return self.inner.passes(model, batch, seed, step, differentiate)
            for first in range(0, count, size):
                piece, share, own = batch.part(slice(first, first + size), seed)
                weighted = _weighted(differentiate, share, first + size >= count)
                for name, value in self.inner.passes(model, piece, own, step, weighted).items():
                    values[name] = values.get(name, 0) + share * value
            return values
        except torch.OutOfMemoryError:
            if size == 1 or not self._halves:
                raise
        # not within `except`: the error would keep all tensors of the step
        self.size = (size + 1) // 2
        log.warning("out of memory on %d rows; from this step on: --%s %d", size, SIZE, self.size)
        raise StepAgain

    def state_dict(self) -> dict[str, Tensor]:
        """The inner objective's state, and the size that is left after halving."""
        own = {SIZE: torch.tensor(self.size)} if self._halves and self.size else {}
        return self.inner.state_dict() | own

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the state."""
        if SIZE in state:
            self.size = int(state[SIZE])
        self.inner.load_state_dict(state)


def _weighted(differentiate: Differentiate, share: float, final: bool) -> Differentiate:
    """What takes a piece's losses: `share` of each; with `final` its last is the batch's last."""
    if isinstance(differentiate, Alone):
        return Alone(share * differentiate.share)
    return lambda loss, last: differentiate(share * loss, last and final)
