"""The rule of docs/collapse.md: which of a figure's claims hold, are reversed, or cannot be told.

Dimensions: S seeds, n dev examples, R resamples of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from minbert.experiments.probe.figures import Contrast, Probe, Row, Series
from minbert.experiments.probe.outcome import Scores
from minbert.statistics.intervals import Interval, minimum_detectable_difference
from minbert.statistics.paired_tests import VarianceEstimate, holm, with_seed_noise
from minbert.tasks.registry import TASKS

LEVEL = 0.05
HOLDS, REVERSED, OPEN, ONE_SEED = "holds", "reversed", "cannot tell", "no verdict: one seed"
_RESAMPLES, _SEED = 1000, 0
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """A claim's difference, tested. `detectable` would have been seen four times in five."""

    contrast: Contrast
    difference: float
    interval: Interval
    p_value: float
    detectable: float
    corrected: float = math.nan

    @property
    def word(self) -> str:
        """What the rule says."""
        if math.isnan(self.p_value):
            return ONE_SEED
        if self.corrected >= LEVEL:
            return OPEN
        return HOLDS if self.difference > 0 else REVERSED


def verdicts(contrasts: Sequence[Contrast], scores: Scores) -> list[Verdict]:
    """A figure's contrasts, corrected together by Holm's method."""
    found = [_tested(contrast, scores, len(contrasts)) for contrast in contrasts]
    known = [one for one in found if not math.isnan(one.p_value)]
    if not known:
        return found
    corrected = holm([one.p_value for one in known])
    return [replace(one, corrected=p) for one, p in zip(known, corrected, strict=True)]


def shown(series: Series, row: Row, scores: Scores) -> Array:
    """A row's scores, the mean over its probes, (S,)."""
    every = [scores.values(place, task) for place, task in series.rows[row]]
    return np.asarray(np.mean(every, axis=0))


def _tested(contrast: Contrast, scores: Scores, count: int) -> Verdict:
    table = {row: shown(contrast.series, row, scores) for row in contrast.series.rows}
    difference = sum(w * float(table[row].mean()) for row, w in contrast.weights.items())
    seeds = len(scores.seeds)
    if seeds < 2:
        nothing = Interval(math.nan, math.nan)
        return Verdict(contrast, difference, nothing, math.nan, math.nan)
    of_examples = _variance_of_examples(contrast, scores)
    noise = seed_noise(table)
    of_seeds = sum(w * w for w in contrast.weights.values()) * noise.variance / seeds
    estimate = VarianceEstimate(of_seeds, noise.freedom)
    margin = float(stats.norm.ppf(0.975)) * math.sqrt(of_examples)
    around = Interval(difference - margin, difference + margin)
    p_value, interval = with_seed_noise(difference, around, [estimate])
    detectable = minimum_detectable_difference(
        math.sqrt(of_examples / 2),  # of one side: the two add up to the difference's variance
        1,
        0.0,
        seeds=seeds,
        seed_sd=math.sqrt(of_seeds * seeds / 2),
        freedom=noise.freedom,
        level=LEVEL / count,
    )
    return Verdict(contrast, difference, interval, p_value, detectable)


def seed_noise(table: Mapping[Row, Array]) -> VarianceEstimate:
    """A score's variance beside the effects of its row and of its seed, which the rows share.

    It is the residual mean square of a two-way table without repetitions, rows by seeds (Fisher's
    randomised blocks), with (rows − 1)(seeds − 1) degrees of freedom. Raises ValueError for fewer
    than two of either.
    """
    values = np.stack(list(table.values()))
    rows, seeds = values.shape
    if rows < 2 or seeds < 2:
        raise ValueError(f"{rows} rows and {seeds} seeds: at least two of each are needed")
    of_rows, of_seeds = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    freedom = (rows - 1) * (seeds - 1)
    rest = values - of_rows - of_seeds + values.mean()
    return VarianceEstimate(float((rest**2).sum()) / freedom, freedom)


def _variance_of_examples(contrast: Contrast, scores: Scores) -> float:
    """The difference's variance over other dev examples; all sides get the same resamples."""
    by_task: dict[str, Array] = {}
    for row, weight in contrast.weights.items():
        probes = contrast.series.rows[row]
        for probe in probes:
            part = weight / len(probes) * _resampled(probe, scores)
            by_task[probe[1]] = by_task.get(probe[1], np.zeros(_RESAMPLES)) + part
    return float(sum(values.var(ddof=1) for values in by_task.values()))


def _resampled(probe: Probe, scores: Scores) -> Array:
    """The probe's mean score over seeds on each resample of the task's dev examples, (R,)."""
    place, task = probe
    labels = scores.labels(place, task)
    counts = _counts(len(labels))
    score = _correlations if TASKS[task].metrics[0].is_correlation else _accuracies
    of_seeds = [score(counts, own, labels) for own in scores.predictions(place, task)]
    return np.asarray(np.mean(of_seeds, axis=0))


@lru_cache(maxsize=1)  # 40,000 examples take 320 MB
def _counts(examples: int) -> Array:
    """How often each of n examples is in each resample, (R, n)."""
    draw = np.random.default_rng(_SEED)
    chances = np.full(examples, 1 / examples)
    return draw.multinomial(examples, chances, size=_RESAMPLES).astype(np.float64)


def _accuracies(counts: Array, guesses: Array, labels: Array) -> Array:
    return np.asarray(counts @ (guesses == labels).astype(np.float64) / len(labels))


def _correlations(counts: Array, guesses: Array, labels: Array) -> Array:
    """Pearson's r, which is Matthews' of two classes, on every resample; 0 where undefined."""
    x, y = guesses - guesses.mean(), labels - labels.mean()
    sums = counts @ np.stack([x, y, x * x, y * y, x * y], axis=1) / len(labels)
    mean_x, mean_y, xx, yy, xy = sums.T
    spread = np.maximum(xx - mean_x**2, 0) * np.maximum(yy - mean_y**2, 0)
    safe = np.where(spread > 1e-24, spread, np.inf)
    return np.asarray((xy - mean_x * mean_y) / np.sqrt(safe))
