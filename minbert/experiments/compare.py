"""Two configurations on the same dev examples: is one better, or is it noise?

`python -m minbert.experiments.compare --first RUN... --second RUN...` takes the folders of finished
runs, the same number of seeds on both sides, and prints each task's mean score on both sides, the
difference, and two p-values: of a paired permutation test, which takes the trained models as given,
and of a t-test that counts the noise of the seeds too, Holm-corrected over the tasks.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minbert.experiments.grid.finished import FinishedRun
from minbert.finetune.rows import dev_choice
from minbert.reports.tables import Table, shown
from minbert.statistics.intervals import over_seeds
from minbert.statistics.paired_tests import (
    VarianceEstimate,
    holm,
    paired_bootstrap,
    paired_permutation,
    with_seed_noise,
)
from minbert.support.command import run_command, show
from minbert.support.errors import InputError
from minbert.tasks.registry import TASKS


@dataclass(frozen=True)
class Compared:
    """A task's mean score over the seeds on both sides, and two-sided p-values.

    `p_models` is the paired permutation test's. `p_value` counts the noise of the seeds too; with
    one seed, whose noise is unknown, it is `p_models`.
    """

    task: str
    first: float
    second: float
    seeds: int
    p_models: float
    p_value: float


def compare(first: Sequence[Path], second: Sequence[Path]) -> list[Compared]:
    """Compare every task that both sides scored. Raises InputError where that is impossible."""
    if len(first) != len(second):
        raise InputError(f"--first has {len(first)} runs, --second {len(second)}: give as many")
    sides = [[FinishedRun.read(folder) for folder in side] for side in (first, second)]
    for flag, side in zip(("--first", "--second"), sides, strict=True):
        if len({run.config["seed"] for run in side}) < len(side):
            raise InputError(f"{flag}: two runs have one seed; give a run a seed")
    runs = [run for side in sides for run in side]
    for run in runs:
        if run.dev_hashes != runs[0].dev_hashes:
            raise InputError(f"{run.folder}: scored on other dev files than {runs[0].folder}")
        wanted, own = dev_choice(runs[0].config), dev_choice(run.config)
        if changed := [name for name in own if own[name] != wanted.get(name)]:
            flag = f"--{changed[0]}"
            raise InputError(f"{run.folder}: scored with another {flag} than {runs[0].folder}")
    return [_compared(task, *sides) for task in runs[0].predictions]


def _compared(task: str, first: Sequence[FinishedRun], second: Sequence[FinishedRun]) -> Compared:
    labels = first[0].labels(task)
    known = ~np.isnan(labels)
    sides = [np.stack([run.predictions[task][known] for run in side]) for side in (first, second)]
    metric, labels = TASKS[task].metric, labels[known]
    over = [over_seeds([metric(of_seed, labels) for of_seed in side]) for side in sides]
    p_models = p_value = paired_permutation(metric, sides[0], sides[1], labels)
    if (count := len(first)) > 1:
        interval = paired_bootstrap(metric, sides[0], sides[1], labels)
        seeds = VarianceEstimate((over[0].sd ** 2 + over[1].sd ** 2) / count, 2 * (count - 1))
        p_value, _ = with_seed_noise(over[0].mean - over[1].mean, interval, [seeds])
    return Compared(task, over[0].mean, over[1].mean, count, p_models, p_value)


def table(compared: Sequence[Compared]) -> str:
    """A table for stdout."""
    header = ["task", "first", "second", "first - second"]
    header += ["p of these models", "p, other seeds too", "p (Holm)"]
    corrected = holm([row.p_value for row in compared])
    rows = [
        [
            row.task,
            *(f"{score:.3f}" for score in (row.first, row.second)),
            f"{row.first - row.second:+.3f}",
            f"{row.p_models:.4f}",
            f"{row.p_value:.4f}" if row.seeds > 1 else "–",
            f"{p_value:.4f}",
        ]
        for row, p_value in zip(compared, corrected, strict=True)
    ]
    return shown([Table("Paired comparison", header, rows)])


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    for side in ("first", "second"):
        parser.add_argument(f"--{side}", nargs="+", required=True, metavar="RUN", type=Path)
    given = parser.parse_args(argv)
    return run_command(
        lambda _stop: show(table(compare(given.first, given.second)), end=""),
        "nothing was compared",
    )


if __name__ == "__main__":
    sys.exit(main())
