"""A grid's results analysed: scores, differences, and the smallest that could have been found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from minbert.experiments.analysis import differences, scoring
from minbert.experiments.analysis.differences import Detectable, Difference
from minbert.experiments.grid import gaps
from minbert.experiments.grid.cells import Cell
from minbert.experiments.grid.columns import Column, title_of
from minbert.experiments.grid.experiment import Experiment
from minbert.experiments.grid.gaps import Gap
from minbert.experiments.grid.results import RowResult, gather
from minbert.statistics import intervals
from minbert.statistics.intervals import Interval, OverSeeds


@dataclass(frozen=True)
class Analysis:
    """All that the tables show. `runs` were planned; `gaps` are the runs without a result.

    `left_out` has a line for each part of the experiment that has runs and is not shown.
    """

    experiment: Experiment
    runs: int
    gaps: Sequence[Gap]
    rows: Sequence[RowResult]
    differences: Sequence[Difference]
    detectable: Sequence[Detectable]
    equal_variances: Mapping[str, float]  # task -> Bartlett's p-value, where it is known
    left_out: Sequence[str]


def analyse(experiment: Experiment, cells: Sequence[Cell], out: Path) -> Analysis:
    """Read the finished cells and test what the experiment compares."""
    results, missing = gaps.read(cells, out)
    rows = gather(experiment, cells, results)
    by_name = {result.row.name: result for result in rows}
    shown, left_out = _comparable(experiment, by_name)
    left_out += _same(shown, by_name)
    compared = differences.compare(shown, by_name)
    smallest = [differences.detectable(task, rows, compared) for task in shown.tasks]
    detectable = [difference for difference in smallest if difference]
    tests = {task: differences.equal_variances(rows, task) for task in shown.tasks}
    alike = {task: p_value for task, p_value in tests.items() if p_value is not None}
    return Analysis(shown, len(cells), missing, rows, compared, detectable, alike, left_out)


def _comparable(
    experiment: Experiment, rows: Mapping[str, RowResult]
) -> tuple[Experiment, list[str]]:
    """The experiment with the tasks that all rows score and the pairs scored on the same examples.

    The list says what is left out.
    """
    left = {c for c in experiment.columns if not all(r.has(c) for r in rows.values())}
    tasks, beside = (
        tuple(name for name in names if name not in left)
        for names in (experiment.tasks, experiment.beside)
    )
    left_out = [
        f"{title_of(name)}: left out, since not every row scores it"
        for name in experiment.columns
        if name in left
    ]
    pairs = []
    for first, second in experiment.compared:
        row, other = rows[first], rows[second]
        if row.cells and other.cells and not all(row.has_examples_of(other, t) for t in tasks):
            left_out.append(f"{first} − {second}: not compared, scored on other dev examples")
        else:
            pairs.append((first, second))
    return replace(experiment, tasks=tasks, beside=beside, compared=tuple(pairs)), left_out


def _same(experiment: Experiment, rows: Mapping[str, RowResult]) -> list[str]:
    """A line for each pair of rows that give the same answers, and so are not tested."""
    lines = []
    for first, second in experiment.compared:
        row, other = rows[first], rows[second]
        if not row.cells.keys() & other.cells.keys():
            continue
        trained = [t for t in experiment.tasks if row.trains(t) or other.trains(t)]
        alike = [title_of(task) for task in trained if differences.same(row, other, task)]
        if alike:
            lines.append(
                f"{first} − {second}: not tested on {', '.join(alike)}, since both give the same "
                "answers there with every seed"
            )
    return lines


def scored(result: RowResult, task: str) -> tuple[OverSeeds, Interval]:
    """A row's mean over seeds, and its 95% interval.

    The interval is Student's over seeds, cut to the scale; with one seed it is that of the dev
    examples (Wilson's for accuracy, Fisher's z for r, else by bootstrap).
    """
    over, column = intervals.over_seeds(result.scores(task)), Column.read(task)
    if over.count > 1:
        lowest = -1.0 if column.metric.is_correlation else 0.0
        return over, Interval(max(over.interval.low, lowest), min(over.interval.high, 1.0))
    predictions, labels = result.predictions(task)
    return over, scoring.interval_of_one(column, predictions[0], labels)
