"""A finished run as its folder holds it: manifest, dev predictions, and the dev labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minbert.data.examples import Split, read_split
from minbert.support import durable_files
from minbert.support.errors import InputError
from minbert.tasks.registry import TASKS, learn
from minbert.tasks.task import Array
from minbert.training.checkpoint import CheckpointStore, DamagedCheckpoint
from minbert.training.record import read_manifest


def read_finished(path: Path) -> dict[str, Any]:
    """The manifest of a finished run, from its file or folder. Raises InputError."""
    manifest = read_manifest(path)
    if manifest["status"] != "finished":
        raise InputError(f"{path}: this run has not finished ({manifest['status']})")
    return manifest


def _with_own_files(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's settings and, as settings of their own, the files of its user's own tasks."""
    own = learn(config.get("task_file") or ())
    files = {f"{task.name}_{split}": file for task in own for split, file in task.files.items()}
    return {**config, **files}


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
        hashes = {k: v for k, v in manifest["sha256"].items() if k.endswith("_dev")}
        predictions = {name: values.numpy() for name, values in kept.items()}
        return cls(folder, _with_own_files(manifest["config"]), hashes, predictions)

    def split(self, task: str) -> Split:
        """A task's dev examples. Raises InputError where the file is not what the run read."""
        if task not in self._splits:
            path, read = Path(self.config[f"{task}_dev"]), self.dev_hashes[f"{task}_dev"]
            if not path.is_file() or durable_files.sha256_of(path) != read:
                raise InputError(f"{path}: not the file that {self.folder} was scored on")
            limit = self.config["limit"]
            self._splits[task] = read_split(TASKS[task], "dev", path, limit=limit)
        return self._splits[task]

    def labels(self, task: str) -> Array:
        """A task's dev labels, NaN where there is none."""
        labels = [np.nan if e.label is None else e.label for e in self.split(task).examples]
        return np.asarray(labels, dtype=np.float64)
