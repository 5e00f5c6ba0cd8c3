"""What a grid says: every row's scores, which differences are noise, what could be seen at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from minbert.experiments.analysis import differences
from minbert.experiments.analysis.differences import Detectable, Difference
from minbert.experiments.grid import gaps
from minbert.experiments.grid.cells import Cell
from minbert.experiments.grid.experiment import Experiment
from minbert.experiments.grid.gaps import Gap
from minbert.experiments.grid.results import RowResult, gather, is_accuracy
from minbert.statistics import intervals
from minbert.statistics.intervals import Interval, OverSeeds
from minbert.tasks.registry import TITLES


@dataclass(frozen=True)
class Analysis:
    """All that a table shows, of so many `runs` planned; `gaps` are those without a result.

    `left_out` says what of the experiment is not shown though its runs are there, a line each.
    """

    experiment: Experiment
    runs: int
    gaps: Sequence[Gap]
    rows: Sequence[RowResult]
    differences: Sequence[Difference]
    detectable: Sequence[Detectable]
    left_out: Sequence[str]


def analyse(experiment: Experiment, cells: Sequence[Cell], out: Path) -> Analysis:
    """Read the finished cells and test what the experiment compares."""
    results, missing = gaps.read(cells, out)
    rows = gather(experiment, cells, results)
    by_name = {result.row.name: result for result in rows}
    shown, left_out = _comparable(experiment, by_name)
    found = differences.compare(shown, by_name)
    smallest = [differences.detectable(task, rows, found) for task in shown.tasks]
    detectable = [one for one in smallest if one]
    return Analysis(shown, len(cells), missing, rows, found, detectable, left_out)


def _comparable(
    experiment: Experiment, rows: Mapping[str, RowResult]
) -> tuple[Experiment, list[str]]:
    """The tasks that all rows score, pairs of rows scored on the same examples; what is not."""
    tasks = tuple(task for task in experiment.tasks if all(r.has(task) for r in rows.values()))
    left_out = [
        f"{TITLES[task]}: left out, since not every row scores it"
        for task in experiment.tasks
        if task not in tasks
    ]
    pairs = []
    for first, second in experiment.compared:
        one, other = rows[first], rows[second]
        if one.cells and other.cells and not all(one.has_examples_of(other, t) for t in tasks):
            left_out.append(f"{first} − {second}: not compared, scored on other dev examples")
        else:
            pairs.append((first, second))
    return replace(experiment, tasks=tasks, compared=tuple(pairs)), left_out


def scored(result: RowResult, task: str) -> tuple[OverSeeds, Interval]:
    """A row's mean over seeds, and its interval.

    That is Student's over seeds, cut to the scale; with one seed it is that of the dev examples
    (Wilson, Fisher z).
    """
    found = intervals.over_seeds(result.scores(task))
    if found.count > 1:
        lowest = 0.0 if is_accuracy(task) else -1.0
        return found, Interval(max(found.interval.low, lowest), min(found.interval.high, 1.0))
    predictions, labels = result.predictions(task, list(result.cells))
    if is_accuracy(task):
        correct = int((predictions[0] == labels).sum())
        return found, intervals.accuracy_interval(correct, len(labels))
    return found, intervals.pearson_interval(predictions[0], labels)
