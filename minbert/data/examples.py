"""A task's examples, rows that were reported, and the splits that they make."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minbert.data import spooled
from minbert.support.errors import InputError
from minbert.support.randomness import derive_seed
from minbert.tasks.task import Task

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Example:
    """A row of a file. `label` is None where there is none to train on or to score."""

    id: str
    texts: tuple[str, ...]
    label: float | None


@dataclass(frozen=True)
class BadRow:
    """A reported row: its place in the file and what is wrong with it."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Amiss:
    """What is wrong with a row that is an example all the same; whether its cells were read."""

    what: str
    is_read: bool


class StoredExamples(spooled.Stored[Example]):
    """The examples of one task, on disk."""

    def __init__(self, task: Task, examples: Iterable[Example] = ()) -> None:
        self._width = 1 + len(task.text_columns)
        self._fields = spooled.StoredTexts()  # each example's id, then its texts
        self._labels = spooled.GrowingArray(np.float64)  # NaN where there is none
        for example in examples:
            self.append(example)

    def __len__(self) -> int:
        return len(self._labels)

    def append(self, example: Example) -> None:
        """Add an example."""
        for content in (example.id, *example.texts):
            self._fields.append(content)
        self._labels.append(np.nan if example.label is None else example.label)

    def stop(self, start: int) -> int:
        """Where to stop reading from `start` on, after one example at least."""
        return max(start + 1, self._fields.stop(start * self._width) // self._width)

    def read(self, start: int, stop: int) -> list[Example]:
        """The examples from `start` to `stop`."""
        fields = iter(self._fields.read(start * self._width, stop * self._width))
        labels = self._labels.read(start, stop).tolist()
        return [
            Example(identifier, tuple(texts), None if math.isnan(label) else label)
            for (identifier, *texts), label in zip(
                zip(*[fields] * self._width, strict=True), labels, strict=True
            )
        ]


@dataclass(frozen=True)
class Split:
    """A task's train, dev or test file as read. `rows` counts every row seen.

    `amiss` says of reported examples, by their numbers from 0, what is wrong with them.
    """

    task: Task
    name: str
    path: Path
    examples: Sequence[Example]
    bad_rows: list[BadRow]
    rows: int
    amiss: Mapping[int, Amiss] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        task: Task,
        texts: Sequence[tuple[str, ...]],
        labels: Sequence[float] | None = None,
        name: str = "texts",
    ) -> Split:
        """Rows from memory, each of as many texts as the task takes; their ids are 1, 2, ...

        `name` stands in messages about them. Raises ValueError unless there are as many labels.
        """
        known: Sequence[float | None] = [None] * len(texts) if labels is None else labels
        rows = enumerate(zip(texts, known, strict=True), start=1)
        examples = [Example(str(number), own, label) for number, (own, label) in rows]
        return cls(task, "train" if labels else "test", Path(name), examples, [], len(examples))

    def drawn(self, count: int, number: int = 0) -> Split:
        """This split with `count` random examples in the file's order, or all if it has no more.

        Files may be sorted: among the first 500 rows of SST's train file, 4 have its lowest label.
        Draw `number` is the same in every run, whatever the run's seed, and holds the smaller draws
        of that number.
        """
        return self._only(self._is_drawn(count, number))

    def rest(self, count: int, number: int = 0) -> Split:
        """The examples that `drawn` leaves out, in the file's order. Raises InputError for none."""
        if count >= len(self.examples):
            raise InputError(f"{self.path}: a draw of {count} rows leaves none to score")
        return self._only(~self._is_drawn(count, number))

    def _is_drawn(self, count: int, number: int) -> NDArray[np.bool_]:
        seed = derive_seed(number, "drawn rows", self.task.name, self.name)
        chosen = np.random.default_rng(seed).permutation(len(self.examples))[:count]
        return np.isin(np.arange(len(self.examples)), chosen)

    def _only(self, kept: NDArray[np.bool_]) -> Split:
        kept_examples = StoredExamples(self.task, compress(self.examples, kept))
        return replace(self, examples=kept_examples, amiss={})
