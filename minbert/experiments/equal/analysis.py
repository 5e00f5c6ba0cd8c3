"""The analysis that docs/equal-compute.md lays down: paired t over draws, Holm, what can be seen.

Every arm is trained on the same draws, with the same order and the same heads at the start, and
scored on the same rows. So the differences of two arms' scores, draw by draw, are what is tested.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from minbert.experiments.equal.arms import STANDARD
from minbert.experiments.equal.budget import TASK_NAMES
from minbert.statistics.intervals import OverSeeds, minimum_detectable_difference, over_seeds
from minbert.statistics.paired_tests import holm, paired_t

LEVEL = 0.05
Scores = Mapping[str, Mapping[str, Sequence[float]]]  # arm -> task -> a score for each draw


@dataclass(frozen=True)
class Contrast:
    """An arm's mean score minus standard's on a task, over draws, with a 95% interval.

    `corrected` is the paired t-test's `p_value` after Holm's correction over all contrasts.
    """

    arm: str
    task: str
    over: OverSeeds
    p_value: float
    corrected: float = math.nan

    @property
    def is_found(self) -> bool:
        """Whether the difference is more than noise at the 5% level."""
        return self.corrected < LEVEL


@dataclass(frozen=True)
class Noise:
    """How a task's scores scatter: `score_sd` of an arm's over draws, pooled over the arms;
    `difference_sd` of a paired difference, pooled over the contrasts; and the smallest true
    difference that this many draws find four times in five, at the level Holm asks of the smallest
    p-value.
    """

    task: str
    draws: int
    score_sd: float
    difference_sd: float
    detectable: float


def contrasts(scores: Scores) -> list[Contrast]:
    """Every arm against standard on both tasks, corrected together."""
    found = []
    for arm in scores:
        for task in TASK_NAMES if arm != STANDARD else ():
            ours, standard = scores[arm][task], scores[STANDARD][task]
            difference = np.asarray(ours) - np.asarray(standard)
            found.append(Contrast(arm, task, over_seeds(difference), paired_t(ours, standard)))
    corrected = holm([contrast.p_value for contrast in found])
    return [replace(one, corrected=p) for one, p in zip(found, corrected, strict=True)]


def noise(scores: Scores, found: Sequence[Contrast]) -> list[Noise]:
    """Each task's noise. The differences' degrees of freedom are those of one contrast.

    The contrasts share standard's scores, so they are no independent estimates of one variance.
    """
    every = []
    for task in TASK_NAMES:
        own = [contrast.over for contrast in found if contrast.task == task]
        sd = _pooled([over.sd for over in own])
        draws = own[0].count
        detectable = minimum_detectable_difference(
            0.0,
            1,
            0.0,
            seeds=draws,
            seed_sd=sd / math.sqrt(2),  # of one side: the two add up to the difference's variance
            freedom=draws - 1,
            level=LEVEL / len(found),
        )
        score_sd = _pooled([over_seeds(of_arm[task]).sd for of_arm in scores.values()])
        every.append(Noise(task, draws, score_sd, sd, detectable))
    return every


def _pooled(deviations: Sequence[float]) -> float:
    return math.sqrt(float(np.mean(np.square(deviations))))
