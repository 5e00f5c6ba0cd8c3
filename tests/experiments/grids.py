"""A place to run grids in, and results made by hand, for several test files."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minbert.experiments.grid.cells import DEV, RESULT, Cell
from minbert.experiments.grid.experiment import Experiment, GridRow
from minbert.finetune.config import RunConfig
from minbert.support import durable_files
from minbert.tasks.metrics import accuracy, pearson
from minbert.tasks.registry import TASKS
from tests.helpers import TINY, save_encoder, write_course_files


@dataclass(frozen=True)
class Place:
    """An encoder, data, and a folder for the grid's runs."""

    root: Path

    @classmethod
    def make(cls, root: Path) -> Place:
        save_encoder(root / "encoder", TINY, initializer_range=0.3)
        write_course_files(root / "data", rows=20)
        return cls(root)

    @property
    def extra(self) -> list[str]:
        """The main job's flags that name them."""
        return ["--weights", str(self.root / "encoder"), "--data_dir", str(self.root / "data")]

    @property
    def out(self) -> Path:
        return self.root / "out"


def experiment(*rows: GridRow, compared: Sequence[tuple[str, str]] = ()) -> Experiment:
    return Experiment("grid", "A grid", ("sst", "sts"), rows, tuple(compared), "published")


def write_result(
    cell: Cell,
    out: Path,
    predictions: dict[str, np.ndarray],
    labels: dict[str, np.ndarray],
    rrobin: str | None = "equal",
) -> None:
    """What a finished cell leaves."""
    folder = cell.folder(out)
    folder.mkdir(parents=True)
    arrays = {f"{task}_predictions": own for task, own in predictions.items()}
    arrays |= {f"{task}_labels": own for task, own in labels.items()}
    arrays |= {
        f"{task}_ids": np.asarray([f"{task}{n}" for n in range(len(own))])
        for task, own in labels.items()
    }
    with (folder / DEV).open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    known = {task: ~np.isnan(own) for task, own in labels.items()}
    metrics = {"sst": accuracy, "para": accuracy, "sts": pearson}
    dev = {
        task: metrics[task](own[known[task]], labels[task][known[task]])
        for task, own in predictions.items()
    }
    epochs = [
        {"train_seconds": factor * cell.seed, "scores": {t: own / 2 for t, own in dev.items()}}
        for factor in (2.0, 4.0)
    ]
    config = {"tasks": None, "rrobin": rrobin}
    manifest = {"dev": dev, "epochs": epochs, "config": config}
    record = {"sha256": durable_files.sha256_of(folder / DEV), "manifest": manifest}
    (folder / RESULT).write_text(json.dumps(record))


def words(command: str) -> list[str]:
    return shlex.split(command)


def write_any_result(
    cell: Cell, out: Path, run: RunConfig, dev: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    """What a finished cell of one task leaves: predictions and labels by task, or task@split."""
    folder = cell.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    metrics: dict[str, dict[str, dict[str, float]]] = {}
    for key, (predictions, labels) in dev.items():
        name, _, split = key.partition("@")
        arrays |= {f"{key}_predictions": predictions, f"{key}_labels": labels}
        arrays |= {f"{key}_ids": np.asarray([str(n) for n in range(len(labels))])}
        scores = {one.name: one.score(predictions, labels) for one in TASKS[name].metrics}
        metrics.setdefault(name, {})[split or "dev"] = scores
    with (folder / DEV).open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    scores = {name: own["dev"][TASKS[name].metric_name] for name, own in metrics.items()}
    config = {"tasks": run.tasks, "rrobin": None, "task_file": run.task_file}
    epochs = [{"train_seconds": 1.0, "scores": scores, "epoch": 1}]
    manifest = {"dev": scores, "metrics": metrics, "epochs": epochs, "config": config}
    record = {"sha256": durable_files.sha256_of(folder / DEV), "manifest": manifest}
    (folder / RESULT).write_text(json.dumps(record))
