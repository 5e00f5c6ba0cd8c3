"""Two configurations on the same dev examples: is one better, or is it noise?

`python -m minbert.experiments.compare --first RUN... --second RUN...` takes the folders of finished
runs, the same number of seeds on both sides, and prints each task's mean score on both sides, the
difference, and the p-value of a paired permutation test, Holm-corrected over the tasks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minbert.experiments.finished import FinishedRun
from minbert.experiments.significance import holm, paired_permutation
from minbert.experiments.tables import Table
from minbert.runtime import InputError, log, set_up_logging
from minbert.tasks import TASKS


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
    sides = [[FinishedRun.read(folder) for folder in side] for side in (first, second)]
    runs = [run for side in sides for run in side]
    for run in runs:
        if run.dev_hashes != runs[0].dev_hashes:
            raise InputError(f"{run.folder}: scored on other dev files than {runs[0].folder}")
        if run.config["limit"] != runs[0].config["limit"]:
            raise InputError(f"{run.folder}: scored with another --limit than {runs[0].folder}")
    return [_compared(task, *sides) for task in runs[0].predictions]


def _compared(task: str, first: Sequence[FinishedRun], second: Sequence[FinishedRun]) -> Compared:
    labels = first[0].labels(task)
    known = ~np.isnan(labels)
    one, other = (np.stack([run.predictions[task][known] for run in s]) for s in (first, second))
    metric = TASKS[task].metric
    p_value = paired_permutation(metric, one, other, labels[known])
    mean, other_mean = (
        float(np.mean([metric(own, labels[known]) for own in side])) for side in (one, other)
    )
    return Compared(task, mean, other_mean, p_value)


def table(compared: Sequence[Compared]) -> str:
    """A Markdown table."""
    header = ["task", "first", "second", "first - second", "p", "p (Holm)"]
    rows = []
    corrected = holm([one.p_value for one in compared])
    for one, p_value in zip(compared, corrected, strict=True):
        difference = f"{one.first - one.second:+.3f}"
        scores = [f"{one.first:.3f}", f"{one.second:.3f}", difference]
        rows.append([one.task, *scores, f"{one.p_value:.4f}", f"{p_value:.4f}"])
    return Table("Paired comparison", header, rows).markdown()


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    set_up_logging()
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    for side in ("first", "second"):
        parser.add_argument(f"--{side}", nargs="+", required=True, metavar="RUN", type=Path)
    given = parser.parse_args(argv)
    try:
        print(table(compare(given.first, given.second)), end="")
    except InputError as error:
        log.error("error: %s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
