"""What a finished run hands over to its report."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from minbert.data.batches import Dataset
from minbert.finetune.build import Parts
from minbert.finetune.config import Key, ResolvedConfig
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
    score: float  # the one that decides
    of_commonest: float  # what answering with the commonest label alone would have

    @property
    def task(self) -> Task:
        """The task."""
        return self.dataset.task


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

    @cached_property
    def on_dev(self) -> tuple[OnDev, ...]:
        """The dev set of every task that was scored."""
        return tuple(self._on_dev())

    def _on_dev(self) -> Iterator[OnDev]:
        for name in self.config.evaluated_tasks:
            commonest = self.manifest["commonest_label"][name]["dev"]
            dataset, predictions = self.parts.datasets[name, "dev"], self.predicted[name, "dev"]
            known = ~np.isnan(dataset.labels)
            yield OnDev(
                dataset,
                rows=np.flatnonzero(known),
                labels=dataset.labels[known],
                predictions=predictions[known],
                is_trained=name in self.parts.trained,
                score=self.manifest["dev"][name],
                of_commonest=commonest[dataset.task.metric_name],
            )
