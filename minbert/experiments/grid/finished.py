"""A finished run as its folder holds it: manifest, dev predictions, and the dev labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minbert.data.examples import Split
from minbert.finetune.identity import completed
from minbert.finetune.rows import file_split, read_rows
from minbert.support import durable_files
from minbert.support.errors import InputError
from minbert.tasks.registry import TASKS, learn
from minbert.tasks.task import Array
from minbert.training import record
from minbert.training.checkpoint import CheckpointStore, DamagedCheckpoint


def read_finished(path: Path) -> dict[str, Any]:
    """The manifest of a finished run, from its file or folder, with every setting of today.

    Raises InputError.
    """
    manifest = record.read_finished(path)
    return {**manifest, "config": completed(manifest["config"])}


def _with_own_files(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's settings and, as settings of their own, the files of its user's own tasks."""
    own = learn(config.get("task_file") or ())
    return {**config, **{f"{t.name}_{split}": f for t in own for split, f in t.files.items()}}


@dataclass(frozen=True)
class FinishedRun:
    """A finished run. `predictions` are those on dev by task, in the order of the dev files."""

    folder: Path
    config: Mapping[str, Any]
    dev_hashes: Mapping[str, str]
    predictions: Mapping[str, Array]
    _splits: dict[str, Split] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def read(cls, folder: Path) -> FinishedRun:
        """Read a run's folder. Raises InputError where it is no finished run, or is damaged."""
        manifest = read_finished(folder)
        try:
            _, kept = CheckpointStore(folder).load_best(manifest["best_epoch"])
        except (DamagedCheckpoint, KeyError) as error:
            raise InputError(f"{folder}: its dev predictions cannot be read ({error})") from error
        predictions = {name: values.numpy() for name, values in kept.items()}
        keys = [f"{name}_{file_split(manifest['config'], 'dev')}" for name in predictions]
        hashes = {key: manifest["sha256"][key] for key in keys}
        return cls(folder, _with_own_files(manifest["config"]), hashes, predictions)

    def split(self, task: str) -> Split:
        """A task's dev examples. Raises InputError where the file is not what the run read."""
        if task not in self._splits:
            key = f"{task}_{file_split(self.config, 'dev')}"
            path, read = Path(self.config[key]), self.dev_hashes[key]
            if not path.is_file() or durable_files.sha256_of(path) != read:
                raise InputError(f"{path}: not the file that {self.folder} was scored on")
            self._splits[task] = read_rows(self.config, TASKS[task], "dev", path)
        return self._splits[task]

    def labels(self, task: str) -> Array:
        """A task's dev labels, NaN where there is none."""
        labels = [np.nan if e.label is None else e.label for e in self.split(task).examples]
        return np.asarray(labels, dtype=np.float64)
