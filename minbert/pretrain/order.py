"""The orders in which pretraining takes rows: packed ones, and sentences by length."""

from collections.abc import Iterator
from itertools import chain, count, islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from minbert.support.randomness import derive_seed
from minbert.training.plan import RowIndices, StepRows
from minbert.training.sampling import POOL

TASK = "text"


class Sharded(Protocol):
    """Rows in shards: `sizes` of each, and `starts`, where each begins among all rows.

    `key` names what decides them.
    """

    key: str
    sizes: NDArray[np.int64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        """The number of rows."""


class ShuffledShards:
    """Passes over the rows: shards in random order, and the rows of each in random order.

    Batches are laid over the passes end to end, so every batch is full. Memory holds the order of
    one shard's rows. An epoch is the `steps_per_epoch` batches between two scorings, not a pass.
    """

    def __init__(self, text: Sharded, batch_size: int, steps_per_epoch: int, seed: int) -> None:
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


class LikeLengths:
    """Batches of sentences of like length: the rows of 50 batches are sorted, and cut into them.

    The rows come in the order of `ShuffledShards`, and the 50 batches in random order.
    """

    def __init__(
        self,
        text: Sharded,
        lengths: NDArray[np.int64],
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
        name: str,
    ) -> None:
        """`lengths`: tokens of each row; `name`: the task's."""
        self._pools = ShuffledShards(text, POOL * batch_size, 1, seed)
        self._lengths, self._steps, self._seed, self._name = lengths, steps_per_epoch, seed, name

    def start(self, epoch: int) -> int:
        """The step with which `epoch` begins."""
        return epoch * self._steps

    def epoch(self, number: int) -> Iterator[StepRows]:
        """The batches of epoch `number`."""
        pool, done = divmod(self.start(number), POOL)
        batches = chain.from_iterable(map(self._batches, count(pool)))
        for rows in islice(batches, done, done + self._steps):
            yield ((self._name, rows),)

    def _batches(self, pool: int) -> list[RowIndices]:
        (((_, rows),),) = self._pools.epoch(pool)
        batches = np.split(rows[np.argsort(self._lengths[rows], kind="stable")], POOL)
        rng = np.random.default_rng(derive_seed(self._seed, "batch order", pool))
        return [batches[index] for index in rng.permutation(POOL)]
