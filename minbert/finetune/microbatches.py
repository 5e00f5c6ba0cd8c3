"""A batch in pieces, so that it may be larger than memory; the gradient is the whole batch's.

Pieces are consecutive rows, each with masks and noise of its own.
"""

from dataclasses import replace

import torch
from torch import Tensor

from minbert.data.batches import Batch
from minbert.model import MultitaskBert
from minbert.regularizers.method import BatchObjective
from minbert.support.console import log
from minbert.support.randomness import derive_seed
from minbert.training.plan import StepAgain

SIZE = "micro_batch_size"  # its key in checkpoints


class MicroBatches:
    """The objective `inner` on at most `size` rows at a time, or on a whole batch for None.

    Losses and logged values must be means over examples, so that a piece counts by its share.
    """

    def __init__(self, inner: BatchObjective, size: int | None, *, halves: bool = False) -> None:
        """With `halves`, `size` is halved, for good, where the device's memory runs out."""
        self.inner, self.size, self._halves = inner, size, halves

    def backward(
        self, model: MultitaskBert, batch: Batch, seed: int, step: int | None = None
    ) -> dict[str, Tensor]:
        """Add the batch's gradients. Raises StepAgain where it must begin again in halves."""
        size = min(self.size or len(batch.ids), len(batch.ids))
        try:
            if size == len(batch.ids):
                return self.inner.backward(model, batch, seed, step)
            return self._in_pieces(size, model, batch, seed, step)
        except torch.OutOfMemoryError:
            if size == 1 or not self._halves:
                raise
        # not within `except`: the error would keep all tensors of the step
        self.size = (size + 1) // 2
        log.warning("out of memory on %d rows; from this step on: --%s %d", size, SIZE, self.size)
        raise StepAgain

    def _in_pieces(
        self, size: int, model: MultitaskBert, batch: Batch, seed: int, step: int | None
    ) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        for first in range(0, len(batch.ids), size):
            piece = batch.taken(slice(first, first + size))
            share, own = len(piece.ids) / len(batch.ids), derive_seed(seed, "piece", first)
            piece = replace(piece, share=share * batch.share)
            for name, value in self.inner.backward(model, piece, own, step).items():
                values[name] = values.get(name, 0) + share * value
        return values

    def after_step(self, model: MultitaskBert) -> None:
        """Do what the inner objective does."""
        self.inner.after_step(model)

    def state_dict(self) -> dict[str, Tensor]:
        """The inner objective's state, and the size that is left after halving."""
        own = {SIZE: torch.tensor(self.size)} if self._halves and self.size else {}
        return self.inner.state_dict() | own

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the state."""
        if SIZE in state:
            self.size = int(state[SIZE])
        self.inner.load_state_dict(state)
