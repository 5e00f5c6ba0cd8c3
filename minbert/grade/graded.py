"""A graded class: the scores of every submission, its rank, and what is to be asked about it."""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from minbert.grade.ceilings import Question, questions
from minbert.grade.comparison import Comparison, compare
from minbert.grade.gold import Gold
from minbert.grade.scores import Overall, Scores, overall_of, score
from minbert.grade.submission import OPTIONS, Submission
from minbert.tasks.metrics import of_commonest
from minbert.tasks.registry import COURSE_TASKS, TASKS
from minbert.tasks.task import Array


@dataclass(frozen=True)
class Graded:
    """A submission with its predictions and scores by task.

    Where several files are about a task, the multitask one counts, else the fine-tuned one. The
    scores of single-task files stand beside, by option and task.
    """

    submission: Submission
    predictions: Mapping[str, Array]
    scores: Mapping[str, Scores]
    single_task: Mapping[str, Mapping[str, Scores]]
    overall: Mapping[str, Overall]  # by course year; empty where a task is not there
    questions: Sequence[Question]
    ranks: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The submission's name."""
        return self.submission.name


@dataclass(frozen=True)
class Column:
    """A column of scores: a task's that count or, with an option, those of single-task files."""

    task: str
    option: str | None = None

    def of(self, graded: Graded) -> Scores | None:
        """A submission's scores in this column."""
        tasks = graded.single_task.get(self.option, {}) if self.option else graded.scores
        return tasks.get(self.task)

    def named(self, mark: str) -> str:
        """Return the column's name, the option before the task."""
        return mark.join(filter(None, (self.option, self.task)))


@dataclass(frozen=True)
class Class:
    """All submissions, the best overall first, and how alike they are (from two on)."""

    graded: Sequence[Graded]
    comparison: Comparison | None  # its places are those of `graded`
    baselines: Mapping[str, float]  # each task's score for one constant answer
    asked: Sequence[str] = COURSE_TASKS  # the tasks that each should have

    @property
    def has_overall(self) -> bool:
        """Whether it is about the course's tasks, which have an overall score."""
        return set(self.asked) == set(COURSE_TASKS)

    def rank(self, graded: Graded) -> int | None:
        """The rank of a submission: overall or, where one task is asked for, in this."""
        deciding = self.asked[0] if len(self.asked) == 1 else "overall"
        return graded.ranks.get(deciding)

    @property
    def is_ranked(self) -> bool:
        """Whether some submission has a rank: of two tasks or more that are not the course's, no.

        Each task has ranks of its own all the same.
        """
        return any(self.rank(graded) is not None for graded in self.graded)

    @property
    def columns(self) -> list[Column]:
        """The course's tasks, and whatever else some submission has a score of."""
        every = [Column(task, option) for option in OPTIONS for task in TASKS]
        course = [Column(task) for task in self.asked]
        more = [column for column in every if any(map(column.of, self.graded))]
        return list(dict.fromkeys([*course, *more]))


def grade(submissions: Sequence[Submission], gold: Gold, ceilings: Mapping[str, float]) -> Class:
    """Score, compare and order the submissions."""
    looks = len(submissions) * len(OPTIONS)  # each file is one look more for a high score
    every = (_graded(each, gold, ceilings, looks) for each in submissions)
    graded = sorted(every, key=lambda one: _standing(one, gold.asked))
    baselines = {n: of_commonest(TASKS[n].metrics[0], labels) for n, labels in gold.labels.items()}
    if len(graded) < 2:
        return Class(graded, None, baselines, gold.asked)
    comparison = compare([result.predictions for result in graded], gold.labels, gold.asked)
    ranked = [
        replace(result, ranks={name: column[i] for name, column in comparison.ranks.items()})
        for i, result in enumerate(graded)
    ]
    return Class(ranked, comparison, baselines, gold.asked)


def _graded(
    submission: Submission, gold: Gold, ceilings: Mapping[str, float], looks: int
) -> Graded:
    predictions = {option: _usable(submission, option, gold) for option in OPTIONS}
    scores = {
        option: {name: score(TASKS[name], tasks[name], gold.labels[name]) for name in tasks}
        for option, tasks in predictions.items()
    }
    first_predictions, first_scores = ChainMap(*predictions.values()), ChainMap(*scores.values())
    by_task = {name: first_scores[name] for name in TASKS if name in first_scores}
    return Graded(
        submission,
        {name: first_predictions[name] for name in by_task},
        by_task,
        {option: tasks for option, tasks in scores.items() if option is not None and tasks},
        overall_of(by_task),
        [asked for tasks in scores.values() for asked in questions(tasks, ceilings, looks)],
    )


def _usable(submission: Submission, option: str | None, gold: Gold) -> dict[str, Array]:
    """Return the predictions by task of an option's files that predict some labelled row."""
    return {
        name: values
        for (file_option, name), values in submission.predictions.items()
        if file_option == option and not np.isnan(values[~np.isnan(gold.labels[name])]).all()
    }


def _standing(graded: Graded, asked: Sequence[str]) -> tuple[float, ...]:
    """Return a sorting key: the overall; without one, how many tasks there are and how good."""
    if graded.overall:
        return (-graded.overall["2024"].score,)
    have = [graded.scores[name].score for name in asked if name in graded.scores]
    return (1.0, -len(have), -sum(have))
