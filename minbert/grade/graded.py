"""A class as graded: every submission's scores, its rank, and what is to be asked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minbert.grade.ceilings import Question, questions
from minbert.grade.comparison import Comparison, compare
from minbert.grade.gold import Gold
from minbert.grade.scores import Overall, Scores, overall_of, score
from minbert.grade.submission import OPTIONS, Submission
from minbert.tasks.metrics import pearson
from minbert.tasks.registry import COURSE_TASKS, TASKS
from minbert.tasks.task import Array

SingleTask = Mapping[str, Mapping[str, Scores]]  # option -> task -> scores


@dataclass(frozen=True)
class Graded:
    """A submission's scores by task; those of its single-task files by option and task too."""

    submission: Submission
    scores: Mapping[str, Scores]
    single_task: SingleTask
    overall: Overall | None
    questions: Sequence[Question]
    ranks: Mapping[str, int | None]

    @property
    def name(self) -> str:
        """The submission's."""
        return self.submission.name


@dataclass(frozen=True)
class Class:
    """All submissions, the best overall first, and how alike they are (from two on)."""

    graded: Sequence[Graded]
    comparison: Comparison | None  # its places are those of `graded`
    baselines: Mapping[str, float]  # a task's score for one constant answer


def grade(submissions: Sequence[Submission], gold: Gold, ceilings: Mapping[str, float]) -> Class:
    """Score, compare and order the submissions."""
    scored = [_scored(one, gold) for one in submissions]
    scores = [_by_task(one) for one in scored]
    overall = [overall_of(one) for one in scores]
    order = sorted(range(len(scored)), key=lambda i: _standing(overall[i], scores[i]))
    comparison = None
    if len(order) > 1:
        comparison = compare([_predictions(submissions[i], scored[i]) for i in order], gold.labels)
    ranks = comparison.ranks if comparison else {}
    graded = [
        Graded(
            submissions[i],
            scores[i],
            _single_task(scored[i]),
            overall[i],
            _questions(scored[i], ceilings, len(order)),
            {name: column[place] for name, column in ranks.items()},
        )
        for place, i in enumerate(order)
    ]
    return Class(
        graded, comparison, {name: baseline(name, gold.labels[name]) for name in gold.labels}
    )


Scored = Mapping[tuple[str | None, str], Scores]


def _scored(submission: Submission, gold: Gold) -> Scored:
    """Scores by (option, task), where anything could be scored."""
    found = {}
    for (option, name), values in submission.predictions.items():
        labels = gold.labels[name]
        if not np.isnan(values[~np.isnan(labels)]).all():
            found[option, name] = score(TASKS[name], values, labels)
    return found


def _option_of(scored: Scored, name: str) -> str | None:
    """Whose file stands for a task: the multitask one, else the fine-tuned one, else the other."""
    return next(option for option in OPTIONS if (option, name) in scored)


def _by_task(scored: Scored) -> dict[str, Scores]:
    there = [name for name in TASKS if any(name == task for _, task in scored)]
    return {name: scored[_option_of(scored, name), name] for name in there}


def _single_task(scored: Scored) -> SingleTask:
    return {
        option: tasks
        for option in OPTIONS
        if option is not None
        and (tasks := {name: one for (which, name), one in scored.items() if which == option})
    }


def _questions(scored: Scored, ceilings: Mapping[str, float], submissions: int) -> list[Question]:
    """What to ask about any of the files, single-task ones too: each is one look more."""
    by_option = [
        {name: one for (which, name), one in scored.items() if which == option}
        for option in OPTIONS
    ]
    looks = submissions * len(OPTIONS)
    return [one for tasks in by_option for one in questions(tasks, ceilings, looks)]


def _predictions(submission: Submission, scored: Scored) -> dict[str, Array]:
    return {
        name: submission.predictions[_option_of(scored, name), name] for name in _by_task(scored)
    }


def _standing(overall: Overall | None, scores: Mapping[str, Scores]) -> tuple[float, ...]:
    """A sorting key: by overall, those without one by how much and how good what they have is."""
    if overall is not None:
        return (-overall.year_2024,)
    have = [scores[name].score for name in COURSE_TASKS if name in scores]
    return (1.0, -len(have), -sum(have))


def baseline(name: str, labels: Array) -> float:
    """The score of the best constant answer: the commonest label's share, or no correlation."""
    if TASKS[name].metric is pearson:
        return 0.0
    _, counts = np.unique(labels[~np.isnan(labels)], return_counts=True)
    return float(counts.max() / counts.sum())
