"""What a grid says: every row's scores, which differences are noise, what could be seen at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from minbert import metrics
from minbert.experiments import gaps, significance, statistics
from minbert.experiments.cells import Cell
from minbert.experiments.gaps import Gap
from minbert.experiments.grid import Experiment
from minbert.experiments.results import RowResult, gather, is_accuracy
from minbert.experiments.statistics import Interval, OverSeeds
from minbert.runtime import ProgressBar
from minbert.tasks import Array

_ALIKE = 1 - 1e-6  # a correlation of rows that predict the same


@dataclass(frozen=True)
class Difference:
    """One row's mean score minus another's on a task, over the seeds that both have.

    `interval` is the paired bootstrap's; `corrected` is `p_value` after Holm's correction over all
    differences of the table.
    """

    first: str
    second: str
    task: str
    seeds: int
    value: float
    interval: Interval
    test: str
    p_value: float
    corrected: float
    correlation: float  # of the two rows' parts in the score, example by example


@dataclass(frozen=True)
class Detectable:
    """The difference that two rows must have to be found at 80% power, and what it rests on."""

    task: str
    value: float
    examples: int
    seeds: int
    seed_sd: float | None  # None with one seed: then only the noise of the examples is in it
    correlation: float


@dataclass(frozen=True)
class Analysis:
    """All that a table shows, of so many `runs` planned; `gaps` are those without a result."""

    experiment: Experiment
    runs: int
    gaps: Sequence[Gap]
    rows: Sequence[RowResult]
    differences: Sequence[Difference]
    detectable: Sequence[Detectable]


def analyse(experiment: Experiment, cells: Sequence[Cell], out: Path) -> Analysis:
    """Read the finished cells and test what the experiment compares, on tasks that all rows score.

    Raises RunError for a damaged result.
    """
    rows = gather(experiment, cells, out)
    scored_by_all = tuple(task for task in experiment.tasks if all(row.has(task) for row in rows))
    experiment = replace(experiment, tasks=scored_by_all)
    differences = _differences(experiment, {result.row.name: result for result in rows})
    detectable = [
        found
        for task in experiment.tasks
        if (found := _detectable(task, rows, [d for d in differences if d.task == task]))
    ]
    missing = gaps.find(cells, out)
    return Analysis(experiment, len(cells), missing, rows, differences, detectable)


def scored(result: RowResult, task: str) -> tuple[OverSeeds, Interval]:
    """A row's mean over seeds, and its interval.

    That is Student's over seeds; with one seed it is that of the dev examples (Wilson, Fisher z).
    """
    found = statistics.over_seeds(result.scores(task))
    if found.count > 1:
        return found, found.interval
    predictions, labels = result.predictions(task, list(result.cells))
    if is_accuracy(task):
        correct = int((predictions[0] == labels).sum())
        return found, statistics.accuracy_interval(correct, len(labels))
    return found, statistics.pearson_interval(predictions[0], labels)


def _differences(experiment: Experiment, rows: dict[str, RowResult]) -> list[Difference]:
    pairs = [
        (rows[first], rows[second], task)
        for first, second in experiment.compared
        for task in experiment.tasks
        if rows[first].cells.keys() & rows[second].cells.keys()
    ]
    found = []
    with ProgressBar(len(pairs), "comparing rows", "tests") as bar:
        for first, second, task in pairs:
            found.append(_difference(first, second, task))
            bar.update(1)
    corrected = significance.holm([one.p_value for one in found])
    return [replace(one, corrected=p) for one, p in zip(found, corrected, strict=True)]


def _difference(first: RowResult, second: RowResult, task: str) -> Difference:
    """Exact tests of one seed's predictions; of several, the permutation test of their means."""
    seeds = sorted(first.cells.keys() & second.cells.keys())
    one, labels = first.predictions(task, seeds)
    other, _ = second.predictions(task, seeds)
    metric = metrics.accuracy if is_accuracy(task) else statistics.quick_pearson
    if len(seeds) > 1:
        test = "permutation"
        p_value = significance.paired_permutation(metric, one, other, labels)
    elif is_accuracy(task):
        test, p_value = "McNemar", significance.mcnemar(one[0], other[0], labels).p_value
    else:
        test, p_value = "Steiger", significance.steiger(one[0], other[0], labels).p_value
    return Difference(
        first=first.row.name,
        second=second.row.name,
        task=task,
        seeds=len(seeds),
        value=significance.mean_difference(metric, one, other, labels),
        interval=significance.paired_bootstrap(metric, one, other, labels),
        test=test,
        p_value=p_value,
        corrected=p_value,
        correlation=_correlation(task, one, other, labels),
    )


def _correlation(task: str, first: Array, second: Array, labels: Array) -> float:
    """Of the two rows' parts in the score; predictions are averaged over the seeds before."""
    if np.array_equal(first, second):
        return 1.0
    if not is_accuracy(task):
        return significance.steiger(first.mean(0), second.mean(0), labels).correlation
    right, other_right = ((side == labels).mean(0) for side in (first, second))
    if np.ptp(right) == 0 or np.ptp(other_right) == 0:
        return 0.0
    return float(np.corrcoef(right, other_right)[0, 1])


def _detectable(
    task: str, rows: Sequence[RowResult], differences: Sequence[Difference]
) -> Detectable | None:
    """Of a typical pair: the median score, correlation and seeds, and the pooled sd over seeds.

    None where no two rows were compared that predict differently.
    """
    done = [result for result in rows if result.cells]
    differences = [one for one in differences if one.correlation < _ALIKE]
    if not differences:
        return None
    over = [statistics.over_seeds(result.scores(task)) for result in done]
    middle = float(np.median([one.mean for one in over]))
    spread = statistics.accuracy_spread if is_accuracy(task) else statistics.pearson_spread
    _, labels = done[0].predictions(task, list(done[0].cells)[:1])
    seeds = int(np.median([one.seeds for one in differences]))
    correlation = float(np.median([one.correlation for one in differences]))
    several = [one for one in over if one.count > 1]
    freedom = sum(one.count - 1 for one in several)
    pooled = sum((one.count - 1) * one.sd**2 for one in several)
    seed_sd = math.sqrt(pooled / freedom) if freedom else None
    value = statistics.minimum_detectable_difference(
        spread(middle),
        len(labels),
        correlation,
        seeds=seeds,
        seed_sd=seed_sd or 0.0,
        freedom=freedom or math.inf,
    )
    return Detectable(task, value, len(labels), seeds, seed_sd, correlation)
