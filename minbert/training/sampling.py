"""The order of tasks and rows in training.

An epoch's steps are a deterministic function of (seed, epoch). A run's position is one integer, the
step, so it can go on from any step without replaying the draws before it.
"""

from collections.abc import Iterator, Mapping
from functools import cache, partial
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from minbert.support.randomness import derive_seed
from minbert.tasks.mixing import Mixing, MixingSettings, TaskShare
from minbert.training.plan import RowIndices, StepRows

POOL = 50  # batches sorted by length together


class TaskSampler:
    """One task's batches, from shuffles of its rows laid end to end.

    An epoch takes the next rows of the shuffles, so that no row comes twice more often than
    another. It cuts them into pools of 50 batches and sorts each pool by length, so that a batch's
    texts need little padding; then it shuffles the batches.
    """

    def __init__(self, name: str, lengths: NDArray[np.int64], seed: int) -> None:
        """`lengths`: tokens of each row."""
        self._name, self._lengths, self._seed = name, lengths, seed

    def batches(
        self, number: int, first: int, count: int, batch_size: int, *, again: bool = False
    ) -> list[RowIndices]:
        """Rows `first` to `first + count` in batches, for epoch `number`; one may be short.

        With `again` they were an earlier epoch's, and make other batches.
        """
        rows = self._stretch(first, count)
        if again:
            rows = self._generator("order again", number).permutation(rows)
        pool = POOL * batch_size
        batches = []
        for start in range(0, count, pool):
            part = rows[start : start + pool]
            part = part[np.argsort(self._lengths[part], kind="stable")]
            batches += np.split(part, range(batch_size, len(part), batch_size))
        order = self._generator("batch order", number).permutation(len(batches))
        return [batches[index] for index in order]

    def _stretch(self, first: int, count: int) -> RowIndices:
        """Rows `first` to `first + count` of the shuffles laid end to end."""
        size = len(self._lengths)
        numbers = range(first // size, (first + count - 1) // size + 1)
        shuffles = [self._generator("row order", n).permutation(size) for n in numbers]
        start = first - numbers[0] * size
        return np.concatenate(shuffles)[start : start + count]

    def _generator(self, purpose: str, number: int) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self._seed, purpose, self._name, number))


class MixedTaskOrder:
    """The steps of a mixing: the tasks in turn, or in random order."""

    def __init__(
        self,
        mixing: Mixing,
        settings: MixingSettings,
        lengths: Mapping[str, NDArray[np.int64]],
        seed: int,
        *,
        summed: bool = False,
        fixed: bool = False,
    ) -> None:
        """`lengths`: tokens of each task's rows.

        With `summed`, a step is a whole round; with `fixed`, an epoch has the rows of the first.
        """
        self.shares = cache(partial(mixing.shares, settings))
        self._rounds, self._summed, self._seed = mixing.rounds, summed, seed
        self._fixed = fixed
        self._samplers = {task: TaskSampler(task, rows, seed) for task, rows in lengths.items()}
        self._starts = [0]

    def start(self, epoch: int) -> int:
        """The step with which `epoch` begins."""
        while len(self._starts) <= epoch:
            counts = [share.batches for share in self.shares(len(self._starts) - 1)]
            self._starts.append(self._starts[-1] + (counts[0] if self._summed else sum(counts)))
        return self._starts[epoch]

    def epoch(self, number: int) -> Iterator[StepRows]:
        """The steps of epoch `number`."""
        drawn = {share.task: self._batches(number, share) for share in self.shares(number)}
        if not self._rounds:
            yield from self._in_random_order(number, drawn)
            return
        rounds = (
            tuple(zip(drawn, turn, strict=True)) for turn in zip(*drawn.values(), strict=True)
        )
        yield from rounds if self._summed else zip(chain.from_iterable(rounds))

    def _batches(self, epoch: int, share: TaskShare) -> list[RowIndices]:
        """A task's batches in an epoch: they go on where the epochs before it stopped."""
        earlier = chain.from_iterable(map(self.shares, range(0 if self._fixed else epoch)))
        first = sum(before.rows for before in earlier if before.task == share.task)
        again = self._fixed and epoch > 0
        sampler = self._samplers[share.task]
        return sampler.batches(epoch, first, share.rows, share.batch_size, again=again)

    def _in_random_order(
        self, epoch: int, drawn: Mapping[str, list[RowIndices]]
    ) -> Iterator[StepRows]:
        turns = [task for task, batches in drawn.items() for _ in batches]
        left = {task: iter(batches) for task, batches in drawn.items()}
        seed = derive_seed(self._seed, "task order", epoch)
        for index in np.random.default_rng(seed).permutation(len(turns)):
            yield ((turns[index], next(left[turns[index]])),)
