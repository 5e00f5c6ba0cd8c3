"""Schedules: which task's batch comes next, and of which rows.

A schedule is a deterministic function of (seed, epoch). Its position is one integer, the step, so
a run can go on from any step without replaying the draws before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from minbert.runtime import InputError, derive_seed

Rows = NDArray[np.int64]
POOL = 50  # batches sorted by length together


class Schedule(Protocol):
    """Yields `(task, rows)` for each step of an epoch."""

    steps_per_epoch: int

    def epoch(self, number: int) -> Iterator[tuple[str, Rows]]:
        """The steps of epoch `number`, counted from 0."""
        ...


class TaskSampler:
    """One task's batches, from shuffles of its rows laid end to end.

    An epoch takes the next `batches · batch_size` rows (or exactly one shuffle, the last batch
    being what is left), so that no row ever comes twice more often than another. What an epoch
    takes is cut into pools of 50 batches, sorted by length inside each, so that a batch's texts
    need little padding; then the batches are shuffled.
    """

    def __init__(
        self,
        name: str,
        lengths: NDArray[np.int64],
        batch_size: int,
        seed: int,
        batches: int | None = None,
    ) -> None:
        """`lengths`: tokens of each row. `batches` an epoch; None for one pass over all rows."""
        self._name, self._lengths, self._seed = name, lengths, seed
        self._batch_size = batch_size
        self._rows_per_epoch = len(lengths) if batches is None else batches * batch_size
        self.batches = -(-self._rows_per_epoch // batch_size)

    def epoch(self, number: int) -> list[Rows]:
        """The batches of epoch `number`, each an array of row indices."""
        rows = self._stretch(number * self._rows_per_epoch, self._rows_per_epoch)
        pool = POOL * self._batch_size
        batches = []
        for first in range(0, len(rows), pool):
            part = rows[first : first + pool]
            part = part[np.argsort(self._lengths[part], kind="stable")]
            batches += np.split(part, range(self._batch_size, len(part), self._batch_size))
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


class SingleTask:
    """One task alone; an epoch is one pass over its rows."""

    def __init__(
        self, lengths: Mapping[str, NDArray[np.int64]], batch_size: int, seed: int
    ) -> None:
        """`lengths` has the one task's name."""
        ((self._name, own),) = lengths.items()
        self._sampler = TaskSampler(self._name, own, batch_size, seed)
        self.steps_per_epoch = self._sampler.batches

    def epoch(self, number: int) -> Iterator[tuple[str, Rows]]:
        """The task's batches."""
        for rows in self._sampler.epoch(number):
            yield self._name, rows


class EqualRoundRobin:
    """The tasks in turn, a batch each: as many rounds an epoch as the smallest has whole batches.

    The next epoch goes on with the rows that an epoch leaves over.
    """

    def __init__(
        self,
        lengths: Mapping[str, NDArray[np.int64]],
        batch_size: int,
        seed: int,
        skipped: Collection[str] = (),
    ) -> None:
        """`lengths`: each task's rows' tokens, in the order the tasks take turns.

        Those `skipped` count for the rounds, but have no turn. Raises InputError where a task has
        not one whole batch.
        """
        smallest = min(lengths, key=lambda name: len(lengths[name]))
        rounds = len(lengths[smallest]) // batch_size
        if not rounds:
            raise InputError(
                f"--batch_size {batch_size}: {smallest} has only {len(lengths[smallest])} rows to "
                "train on, not one whole batch; lower it"
            )
        self._samplers = {
            name: TaskSampler(name, own, batch_size, seed, rounds)
            for name, own in lengths.items()
            if name not in skipped
        }
        self.steps_per_epoch = rounds * len(self._samplers)

    def epoch(self, number: int) -> Iterator[tuple[str, Rows]]:
        """Round after round."""
        drawn = [sampler.epoch(number) for sampler in self._samplers.values()]
        for batches in zip(*drawn, strict=True):
            yield from zip(self._samplers, batches, strict=True)
