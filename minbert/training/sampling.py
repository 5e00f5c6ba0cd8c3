"""Which task's batch comes next, and of which rows.

An epoch's steps are a deterministic function of (seed, epoch). A run's position is one integer, the
step, so it can go on from any step without replaying the draws before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from minbert.support.randomness import derive_seed
from minbert.tasks.mixing import Draw, Draws

Rows = NDArray[np.int64]
Step = tuple[tuple[str, Rows], ...]  # the batches of one update, each a task and its rows
POOL = 50  # batches sorted by length together


class Schedule(Protocol):
    """The order of training, an optimizer step at a time."""

    def start(self, number: int) -> int:
        """The step with which epoch `number`, counted from 0, begins."""
        ...

    def epoch(self, number: int) -> Iterator[Step]:
        """The steps of epoch `number`."""
        ...


class TaskSampler:
    """One task's batches, from shuffles of its rows laid end to end.

    An epoch takes the next rows of these, so that no row ever comes twice more often than another.
    What it takes is cut into pools of 50 batches, sorted by length inside each, so that a batch's
    texts need little padding; then the batches are shuffled.
    """

    def __init__(self, name: str, lengths: NDArray[np.int64], seed: int) -> None:
        """`lengths`: tokens of each row."""
        self._name, self._lengths, self._seed = name, lengths, seed

    def batches(self, number: int, first: int, count: int, batch_size: int) -> list[Rows]:
        """Rows `first` to `first + count` in batches, for epoch `number`; one may be short."""
        rows = self._stretch(first, count)
        pool = POOL * batch_size
        batches = []
        for start in range(0, count, pool):
            part = rows[start : start + pool]
            part = part[np.argsort(self._lengths[part], kind="stable")]
            batches += np.split(part, range(batch_size, len(part), batch_size))
        order = self._generator("batch order", number).permutation(len(batches))
        return [batches[index] for index in order]

    def _stretch(self, first: int, count: int) -> Rows:
        """Rows `first` to `first + count` of the shuffles laid end to end."""
        size = len(self._lengths)
        numbers = range(first // size, (first + count - 1) // size + 1)
        shuffles = [self._generator("row order", n).permutation(size) for n in numbers]
        start = first - numbers[0] * size
        return np.concatenate(shuffles)[start : start + count]

    def _generator(self, purpose: str, number: int) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self._seed, purpose, self._name, number))


class TaskSchedule:
    """The steps of one of `minbert.tasks.mixing`: the tasks in turn, or in random order."""

    def __init__(
        self,
        draws: Draws,
        lengths: Mapping[str, NDArray[np.int64]],
        seed: int,
        *,
        rounds: bool = True,
        summed: bool = False,
    ) -> None:
        """`lengths`: each task's rows' tokens.

        With `rounds` the tasks take turns in the order of `draws`, which are then as many batches
        of each; and with `summed` a step is a whole round, otherwise a single batch.
        """
        self.draws = cache(draws)
        self._rounds, self._summed, self._seed = rounds, summed, seed
        self._samplers = {name: TaskSampler(name, own, seed) for name, own in lengths.items()}
        self._starts = [0]

    def start(self, number: int) -> int:
        """The step with which epoch `number` begins."""
        while len(self._starts) <= number:
            counts = [draw.batches for draw in self.draws(len(self._starts) - 1)]
            self._starts.append(self._starts[-1] + (counts[0] if self._summed else sum(counts)))
        return self._starts[number]

    def epoch(self, number: int) -> Iterator[Step]:
        """The steps of epoch `number`."""
        drawn = {draw.task: self._batches(number, draw) for draw in self.draws(number)}
        if not self._rounds:
            yield from self._in_random_order(number, drawn)
            return
        rounds = (
            tuple(zip(drawn, turn, strict=True)) for turn in zip(*drawn.values(), strict=True)
        )
        yield from rounds if self._summed else zip(chain.from_iterable(rounds))

    def _batches(self, number: int, draw: Draw) -> list[Rows]:
        """The epoch's batches of a task: they go on where the epochs before it stopped."""
        earlier = chain.from_iterable(map(self.draws, range(number)))
        first = sum(before.rows for before in earlier if before.task == draw.task)
        return self._samplers[draw.task].batches(number, first, draw.rows, draw.batch_size)

    def _in_random_order(self, number: int, drawn: Mapping[str, list[Rows]]) -> Iterator[Step]:
        turns = [task for task, batches in drawn.items() for _ in batches]
        left = {task: iter(batches) for task, batches in drawn.items()}
        seed = derive_seed(self._seed, "task order", number)
        for index in np.random.default_rng(seed).permutation(len(turns)):
            yield ((turns[index], next(left[turns[index]])),)
