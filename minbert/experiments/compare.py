"""Two configurations on the same dev examples: is one better, or is it noise?

`python -m minbert.experiments.compare --first RUN... --second RUN...` takes the folders of finished
runs, the same number of seeds on both sides, and prints each task's mean score on both sides, the
difference, and the p-value of a paired permutation test, Holm-corrected over the tasks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minbert import files
from minbert.checkpoint import CheckpointStore, DamagedCheckpoint
from minbert.data import read_split
from minbert.experiments.significance import holm, paired_permutation
from minbert.experiments.summary import read_manifest
from minbert.runtime import InputError, log, set_up_logging
from minbert.tasks import TASKS, Array


@dataclass(frozen=True)
class Compared:
    """A task's mean score over the seeds on both sides, and the two-sided p-value."""

    task: str
    first: float
    second: float
    p_value: float


def compare(first: Sequence[Path], second: Sequence[Path]) -> list[Compared]:
    """Every task that both sides scored. Raises InputError where they cannot be compared."""
    if len(first) != len(second):
        raise InputError(f"--first has {len(first)} runs, --second {len(second)}: give as many")
    sides = [[_Run.read(folder) for folder in side] for side in (first, second)]
    runs = [run for side in sides for run in side]
    for run in runs:
        if run.dev_hashes != runs[0].dev_hashes:
            raise InputError(f"{run.folder}: scored on other dev files than {runs[0].folder}")
    return [_compared(task, *sides) for task in runs[0].predictions]


def _compared(task: str, first: Sequence[_Run], second: Sequence[_Run]) -> Compared:
    labels = first[0].labels(task)
    known = ~np.isnan(labels)
    one, other = (np.stack([run.predictions[task][known] for run in s]) for s in (first, second))
    metric = TASKS[task].metric
    p_value = paired_permutation(metric, one, other, labels[known])
    mean, other_mean = (
        float(np.mean([metric(own, labels[known]) for own in side])) for side in (one, other)
    )
    return Compared(task, mean, other_mean, p_value)


@dataclass(frozen=True)
class _Run:
    folder: Path
    config: Mapping[str, Any]
    dev_hashes: Mapping[str, str]
    predictions: Mapping[str, Array]

    @classmethod
    def read(cls, folder: Path) -> _Run:
        manifest = read_manifest(folder)
        try:
            _, kept = CheckpointStore(folder).load_best(manifest["best_epoch"])
        except (DamagedCheckpoint, KeyError) as error:
            raise InputError(f"{folder}: its dev predictions cannot be read ({error})") from error
        hashes = {k: v for k, v in manifest["sha256"].items() if k.endswith("_dev")}
        predictions = {name: values.numpy() for name, values in kept.items()}
        return cls(folder, manifest["config"], hashes, predictions)

    def labels(self, task: str) -> Array:
        """A task's dev labels, NaN where there is none, from the file that the run read."""
        path = Path(self.config[f"{task}_dev"])
        if not path.is_file() or files.sha256_of(path) != self.dev_hashes[f"{task}_dev"]:
            raise InputError(f"{path}: not the file that {self.folder} was scored on")
        split = read_split(TASKS[task], "dev", path, limit=self.config["limit"])
        labels = [np.nan if e.label is None else e.label for e in split.examples]
        return np.asarray(labels, dtype=np.float64)


def table(compared: Sequence[Compared]) -> str:
    """A Markdown table."""
    header = ["task", "first", "second", "first - second", "p", "p (Holm)"]
    rows = [header, ["---"] * len(header)]
    corrected = holm([one.p_value for one in compared])
    for one, p_value in zip(compared, corrected, strict=True):
        difference = f"{one.first - one.second:+.3f}"
        scores = [f"{one.first:.3f}", f"{one.second:.3f}", difference]
        rows.append([one.task, *scores, f"{one.p_value:.4f}", f"{p_value:.4f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    set_up_logging()
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    for side in ("first", "second"):
        parser.add_argument(f"--{side}", nargs="+", required=True, metavar="RUN", type=Path)
    given = parser.parse_args(argv)
    try:
        print(table(compare(given.first, given.second)))
    except InputError as error:
        log.error("error: %s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
