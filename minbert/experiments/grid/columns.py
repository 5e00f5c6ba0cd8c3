"""The scores that a table has, each written in a word.

`mrpc` is the score that decides, on the task's dev file; `mrpc:F1` another of its metrics;
`mnli@dev_mismatched` another dev file; `xnli-en@dev_de+dev_fr` the mean over several dev files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

from minbert.tasks.metrics import ACCURACY, Metric
from minbert.tasks.registry import TASKS, TITLES
from minbert.tasks.task import Task

_DEV = "dev"


@dataclass(frozen=True)
class Column:
    """A score: of which task, on which of its dev files, by which metric."""

    task: Task
    splits: tuple[str, ...]
    metric: Metric

    @classmethod
    def read(cls, name: str) -> Column:
        """The score that a word names. Raises KeyError where there is no such task or metric."""
        place, _, metric = name.partition(":")
        task_name, _, splits = place.partition("@")
        task = TASKS[task_name]
        metrics = {one.name: one for one in task.metrics}
        return cls(
            task,
            tuple(splits.split("+")) if splits else (_DEV,),
            metrics[metric] if metric else task.metrics[0],
        )

    @property
    def decides(self) -> bool:
        """Whether it is by the metric that decides."""
        return self.metric == self.task.metrics[0]

    @property
    def is_mean(self) -> bool:
        """Whether it is the mean over several dev files."""
        return len(self.splits) > 1

    @property
    def is_accuracy(self) -> bool:
        """Whether it is the share of one dev file's examples that are right."""
        return self.metric == ACCURACY and not self.is_mean

    @property
    def title(self) -> str:
        """Its name in a table."""
        words = [TITLES[self.task.name]]
        if self.is_mean:
            words.append(f"mean of {len(self.splits)}")
        elif self.splits != (_DEV,):
            words.append(self.splits[0].removeprefix(f"{_DEV}_").replace("_", " "))
        return " ".join(words if self.decides else [*words, self.metric.name])

    @property
    def heading(self) -> str:
        """Its name with the metric's."""
        return f"{self.title} {self.metric.name}" if self.decides else self.title

    @property
    def keys(self) -> tuple[str, ...]:
        """What the arrays of a finished cell are called, one for each dev file."""
        name = self.task.name
        return tuple(key_of_split(name, split) for split in self.splits)

    def score(self, metrics: Mapping[str, Any]) -> float | None:
        """The score in a manifest's `metrics`; None where the run has none."""
        found = metrics.get(self.task.name, {})
        if not all(self.metric.name in found.get(split, {}) for split in self.splits):
            return None
        return mean(float(found[split][self.metric.name]) for split in self.splits)


def decisive(names: Iterable[str]) -> list[str]:
    """Those of the names that are a task's: the score that decides, on its dev file."""
    return [name for name in names if name in TASKS]


def key_of_split(task: str, split: str) -> str:
    """What the arrays of a finished cell call a dev file."""
    return task if split == _DEV else f"{task}@{split}"


def title_of(name: str) -> str:
    """The title of the score that a word names, or the word itself where it names none."""
    return Column.read(name).title if name.partition(":")[0].partition("@")[0] in TASKS else name
