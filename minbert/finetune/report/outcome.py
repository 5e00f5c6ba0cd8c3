"""What a finished run hands over to its report."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minbert.data.batches import Dataset
from minbert.finetune.build import Parts
from minbert.finetune.config import Key, ResolvedConfig
from minbert.tasks.metrics import of_commonest
from minbert.tasks.task import Array, Task


@dataclass(frozen=True)
class OnDev:
    """A task's dev set, and the best epoch's predictions of its n labelled examples, each (n,).

    `rows` are their numbers in the dataset.
    """

    dataset: Dataset
    rows: Array
    labels: Array
    predictions: Array
    is_trained: bool

    @property
    def task(self) -> Task:
        """The task."""
        return self.dataset.task

    @property
    def score(self) -> float:
        """The score that decides."""
        return self.task.metric(self.predictions, self.labels)

    @property
    def of_commonest(self) -> float:
        """The score that answering with the commonest label alone would have."""
        return of_commonest(self.task.metrics[0], self.labels)


@dataclass(frozen=True)
class Outcome:
    """A finished run; `parts` have the best epoch's model."""

    folder: Path
    config: ResolvedConfig
    parts: Parts
    manifest: Mapping[str, Any]
    predicted: Mapping[Key, Array]

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """Scores and seconds of each epoch."""
        return list(self.manifest["epochs"])

    def on_dev(self) -> Iterator[OnDev]:
        """The dev set of every task that was scored."""
        for name in self.config.evaluated_tasks:
            dataset, predictions = self.parts.datasets[name, "dev"], self.predicted[name, "dev"]
            known = ~np.isnan(dataset.labels)
            yield OnDev(
                dataset,
                rows=np.flatnonzero(known),
                labels=dataset.labels[known],
                predictions=predictions[known],
                is_trained=name in self.parts.trained,
            )
