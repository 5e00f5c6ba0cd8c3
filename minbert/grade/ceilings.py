"""Scores too good to be true, asked about and never judged.

A ceiling is a true score that no honest work on this data is known to come near. The question is
put where a model that good would score as high, or higher, by the luck of the dev examples less
than once in a thousand such classes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy import stats

from minbert.grade.scores import Scores
from minbert.tasks.registry import TASKS

COURSE_CEILINGS: Mapping[str, float] = {
    name: task.ceiling for name, task in TASKS.items() if task.ceiling is not None
}
_LEVEL = 1e-3


@dataclass(frozen=True)
class Question:
    """A score above its ceiling, and how probable that is for a model as good as the ceiling."""

    task: str
    score: float
    ceiling: float
    probability: float

    def __str__(self) -> str:
        metric = TASKS[self.task].metric_name
        return (
            f"{self.task} {metric} {self.score:.3f} is above {self.ceiling:g}, which no known "
            f"honest work reaches; a model that good would score this or more with probability "
            f"{self.probability:.1g}. Were the scored examples among what it learned from?"
        )


def questions(
    scores: Mapping[str, Scores], ceilings: Mapping[str, float], submissions: int
) -> list[Question]:
    """What to ask one of so many submissions: the more are looked at, the rarer is a question."""
    asked = [
        Question(name, scores[name].score, ceiling, tail(scores[name], ceiling))
        for name, ceiling in ceilings.items()
        if name in scores and scores[name].score > ceiling
    ]
    looks = submissions * len(ceilings)
    return [one for one in asked if one.probability < _LEVEL / looks]


def tail(score: Scores, ceiling: float) -> float:
    """Probability of this score or more under a true score at the ceiling.

    Binomial for accuracies; for Pearson's r normal after Fisher's atanh, variance 1 / (n - 3).
    """
    if score.confusion is not None:
        right = round(score.score * score.rows)
        return float(stats.binom.sf(right - 1, score.rows, ceiling))
    if score.rows < 4:
        return 1.0
    if score.score >= 1:
        return 0.0
    z = (math.atanh(score.score) - math.atanh(ceiling)) * math.sqrt(score.rows - 3)
    return float(stats.norm.sf(z))
