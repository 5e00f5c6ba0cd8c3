"""In which order packed rows are trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from minbert.pretrain.shards import PackedText
from minbert.support.randomness import derive_seed
from minbert.training.sampling import Step

TASK = "text"


class ShuffledShards:
    """A schedule: passes over the rows, shards in random order and rows in random order in each.

    Batches are laid over the passes end to end, so every batch is full. What it holds in memory
    is the order of one shard's rows. An "epoch" is a stretch of `per_epoch` batches.
    """

    def __init__(self, text: PackedText, batch_size: int, per_epoch: int, seed: int) -> None:
        """`batch_size` in rows."""
        self._text, self._batch_size, self._seed = text, batch_size, seed
        self._per_epoch = per_epoch

    def start(self, number: int) -> int:
        """The step with which stretch `number` begins."""
        return number * self._per_epoch

    def epoch(self, number: int) -> Iterator[Step]:
        """The batches of stretch `number`."""
        first = self.start(number) * self._batch_size
        stretch = self._from(first)
        rest = next(stretch)
        for _ in range(self._per_epoch):
            while len(rest) < self._batch_size:
                rest = np.concatenate([rest, next(stretch)])
            yield ((TASK, rest[: self._batch_size]),)
            rest = rest[self._batch_size :]

    def _from(self, position: int) -> Iterator[NDArray[np.int64]]:
        """Rows from `position` in the endless order on, a shard at a time."""
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
