"""The order in which pretraining takes packed rows."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from minbert.pretrain.shards import PackedText
from minbert.support.randomness import derive_seed
from minbert.training.plan import StepRows

TASK = "text"


class ShuffledShards:
    """Passes over the rows: shards in random order, and the rows of each in random order.

    Batches are laid over the passes end to end, so every batch is full. Memory holds the order of
    one shard's rows. An epoch is the `steps_per_epoch` batches between two scorings, not a pass.
    """

    def __init__(self, text: PackedText, batch_size: int, steps_per_epoch: int, seed: int) -> None:
        """`batch_size` in rows."""
        self._text, self._batch_size, self._seed = text, batch_size, seed
        self._steps_per_epoch = steps_per_epoch

    def start(self, epoch: int) -> int:
        """The step with which `epoch` begins."""
        return epoch * self._steps_per_epoch

    def epoch(self, number: int) -> Iterator[StepRows]:
        """The batches of epoch `number`."""
        shards = self._from(self.start(number) * self._batch_size)
        rest = next(shards)
        for _ in range(self._steps_per_epoch):
            while len(rest) < self._batch_size:
                rest = np.concatenate([rest, next(shards)])
            yield ((TASK, rest[: self._batch_size]),)
            rest = rest[self._batch_size :]

    def _from(self, position: int) -> Iterator[NDArray[np.int64]]:
        """The rows from `position` in the endless order on, a shard at a time."""
        turn, offset = divmod(position, len(self._text))
        while True:
            for shard in self._shuffle(len(self._text.sizes), "shards", turn):
                size = int(self._text.sizes[shard])
                if offset >= size:
                    offset -= size
                    continue
                rows = self._shuffle(size, "rows", turn, int(shard))
                yield rows[offset:] + self._text.starts[shard]
                offset = 0
            turn += 1

    def _shuffle(self, size: int, purpose: str, *position: int) -> NDArray[np.int64]:
        seed = derive_seed(self._seed, purpose, *position)
        return np.random.default_rng(seed).permutation(size)
