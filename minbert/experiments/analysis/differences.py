"""Rows of a grid compared: is a difference noise of the examples, of the seeds, or neither?

Two questions are asked of the same predictions. Would other dev examples say the same of these
trained models? The paired test answers that (`p_models`). Would models trained with other seeds
differ as well? That answer needs the noise of the seeds too (`p_value`), and a claim about a method
rests on it: between two rows that differ by the seed alone the first test often finds a difference,
and with many examples nearly always.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median_low

import numpy as np

from minbert.experiments.analysis import scoring
from minbert.experiments.grid.columns import Column
from minbert.experiments.grid.experiment import Experiment
from minbert.experiments.grid.results import RowResult
from minbert.statistics import intervals, paired_tests
from minbert.statistics.intervals import Interval
from minbert.statistics.paired_tests import VarianceEstimate
from minbert.support.console import ProgressBar
from minbert.tasks.task import Array

LEVEL = 0.05
_ALIKE = 1 - 1e-6  # a correlation of rows that predict the same


@dataclass(frozen=True)
class Difference:
    """One row's mean score minus another's on a task, over the seeds that both have.

    `p_models` is the p-value of `test`, which takes the trained models as given. `p_value` and
    `interval` count the noise of the seeds too; with one seed in common they are those of the given
    models. `corrected` is `p_value` after Holm's correction over all differences of the table, and
    decides. `welch` is Welch's t-test of the seeds alone, which takes no two rows to scatter alike
    and knows no noise of the examples; NaN with one seed. `correlation` is that of the two rows'
    parts in the score, example by example.
    """

    first: str
    second: str
    task: str
    seeds: int
    value: float
    interval: Interval
    test: str
    p_models: float
    p_value: float
    corrected: float
    welch: float
    welch_corrected: float
    correlation: float

    @property
    def is_seen(self) -> bool:
        """Whether it is more than noise, if of the two trained models alone."""
        return self.corrected < LEVEL

    @property
    def verdict(self) -> str:
        """Whether it is more than noise; one seed tells of the two trained models alone."""
        if not self.is_seen:
            return "no"
        return "yes" if self.seeds > 1 else "these models only"


@dataclass(frozen=True)
class Detectable:
    """The difference that two rows must have to be found at 80% power, and what it rests on.

    The level is the one that Holm's correction asks of the smallest of `tests` p-values.
    """

    task: str
    value: float
    examples: int
    seeds: int
    seed_sd: float | None  # None with one seed: only the noise of the examples counts then
    correlation: float
    tests: int


def compare(experiment: Experiment, rows: Mapping[str, RowResult]) -> list[Difference]:
    """The differences that the experiment asks for, on tasks that at least one row trains.

    Rows that are `same` on a task are left out: there is nothing to test, and each test more asks
    smaller p-values of all others.
    """
    pairs = [
        (rows[first], rows[second], task)
        for first, second in experiment.compared
        for task in experiment.tasks
        if rows[first].cells.keys() & rows[second].cells.keys()
        and (rows[first].trains(task) or rows[second].trains(task))
        and not same(rows[first], rows[second], task)
    ]
    noise = {task: _seed_noise(list(rows.values()), task) for task in experiment.tasks}
    differences = []
    with ProgressBar(len(pairs), "comparing rows", "tests") as bar:
        for first, second, task in pairs:
            differences.append(_difference(first, second, task, noise[task]))
            bar.update(1)
    corrected = paired_tests.holm([difference.p_value for difference in differences])
    welch = _holm_of_known([difference.welch for difference in differences])
    return [
        replace(one, corrected=p, welch_corrected=w)
        for one, p, w in zip(differences, corrected, welch, strict=True)
    ]


def _holm_of_known(p_values: Sequence[float]) -> list[float]:
    """Holm's correction over the p-values that are known; the others stay NaN."""
    corrected = iter(paired_tests.holm([p for p in p_values if not math.isnan(p)]))
    return [p if math.isnan(p) else next(corrected) for p in p_values]


def equal_variances(rows: Sequence[RowResult], task: str) -> float | None:
    """The p-value of Bartlett's test (1937) that the rows that train a task scatter alike.

    None where fewer than two rows have several seeds that differ.
    """
    over = [row.scores(task) for row in rows if len(row.cells) > 1 and row.trains(task)]
    return paired_tests.bartlett([scores for scores in over if np.ptp(scores) > 0])


def same(first: RowResult, second: RowResult, task: str) -> bool:
    """Whether both rows give the same answers to all examples with every seed that both have.

    They do where the flags in which they differ change nothing here, as `--rrobin full` where all
    training sets have as many rows.
    """
    seeds = sorted(first.cells.keys() & second.cells.keys())
    one, other = (row.predictions(task, seeds)[0] for row in (first, second))
    return np.array_equal(one, other)


def _seed_noise(rows: Sequence[RowResult], task: str) -> dict[bool, VarianceEstimate]:
    """The variance of a task's score over seeds, pooled over rows; 0 and 0 where it is unknown.

    True has that of rows that train the task, False that of rows that do not. A row that no seed
    changes (a frozen encoder under a head without weights) says nothing of the noise. An untrained
    head is the same draw in every row of a seed, so those rows count as one.
    """
    noise = {}
    for trained in (True, False):
        several = [row for row in rows if len(row.cells) > 1 and row.trains(task) == trained]
        over = [one for row in several if (one := intervals.over_seeds(row.scores(task))).sd > 0]
        freedom = sum(one.count - 1 for one in over)
        pooled = sum((one.count - 1) * one.sd**2 for one in over)
        known = freedom if trained else max((one.count - 1 for one in over), default=0)
        noise[trained] = VarianceEstimate(pooled / freedom if freedom else 0.0, known)
    return noise


def _difference(
    first: RowResult, second: RowResult, task: str, noise: Mapping[bool, VarianceEstimate]
) -> Difference:
    seeds = sorted(first.cells.keys() & second.cells.keys())
    one, labels = first.predictions(task, seeds)
    other, _ = second.predictions(task, seeds)
    column = Column.read(task)
    metric = scoring.quick_score(column)
    value = paired_tests.mean_difference(metric, one, other, labels)
    interval = paired_tests.paired_bootstrap(metric, one, other, labels)
    test, p_models = _test_of_models(column, one, other, labels)
    p_value = p_models
    if len(seeds) > 1:
        sides = [row.trains(task) for row in (first, second)]
        parts = [
            VarianceEstimate(sides.count(trained) * variance / len(seeds), freedom)
            for trained, (variance, freedom) in noise.items()
            if trained in sides
        ]
        p_value, interval = paired_tests.with_seed_noise(value, interval, parts)
    return Difference(
        first=first.row.name,
        second=second.row.name,
        task=task,
        seeds=len(seeds),
        value=value,
        interval=interval,
        test=test,
        p_models=p_models,
        p_value=p_value,
        corrected=p_value,
        welch=(welch := _welch(first, second, seeds, task)),
        welch_corrected=welch,
        correlation=scoring.correlation(column, one, other, labels),
    )


def _welch(first: RowResult, second: RowResult, seeds: Sequence[int], task: str) -> float:
    sides = [[row.score(seed, task) for seed in seeds] for row in (first, second)]
    return paired_tests.welch(*sides)


def _test_of_models(column: Column, one: Array, other: Array, labels: Array) -> tuple[str, float]:
    """The test's name and p-value: an exact test of one seed's accuracy or r, else permutation."""
    if len(one) == 1 and column.is_accuracy:
        return "McNemar", paired_tests.mcnemar(one[0], other[0], labels).p_value
    if len(one) == 1 and scoring.is_pearson(column):
        return "Steiger", paired_tests.steiger(one[0], other[0], labels).p_value
    score = scoring.quick_score(column)
    return "permutation", paired_tests.paired_permutation(score, one, other, labels)


def detectable(
    task: str, rows: Sequence[RowResult], differences: Sequence[Difference]
) -> Detectable | None:
    """The smallest difference that could have been found for a typical pair that trains the task.

    A typical pair has the median score, correlation and number of seeds. None where no two rows
    were compared that predict differently.
    """
    pairs = [pair for pair in differences if pair.task == task and pair.correlation < _ALIKE]
    done = [row for row in rows if row.cells and row.trains(task)]
    if not pairs:
        return None
    middle = float(np.median([intervals.over_seeds(row.scores(task)).mean for row in done]))
    predictions, labels = done[0].predictions(task)
    seeds = median_low(pair.seeds for pair in pairs)
    correlation = float(np.median([pair.correlation for pair in pairs]))
    noise = _seed_noise(rows, task)[True]
    seed_sd = math.sqrt(noise.variance) if noise.freedom and seeds > 1 else None
    value = intervals.minimum_detectable_difference(
        scoring.spread(Column.read(task), middle, predictions, labels),
        len(labels),
        correlation,
        seeds=seeds,
        seed_sd=seed_sd or 0.0,
        freedom=noise.freedom if seed_sd else math.inf,
        level=LEVEL / len(differences),
    )
    return Detectable(task, value, len(labels), seeds, seed_sd, correlation, len(differences))
