"""The prediction files of a submission: dev scores for the leaderboard, and what is wrong there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minbert.grade.gold import Gold
from minbert.grade.graded import Graded, grade
from minbert.grade.problems import in_brief
from minbert.grade.scores import score_names
from minbert.grade.submission import Source, read
from minbert.grade.text import number, span
from minbert.tasks.registry import TASKS

_YEAR = "2024"  # of the course, whose overall score counts


@dataclass(frozen=True)
class Predictions:
    """Dev scores by name, each with its words, and the defects of the files."""

    scores: Mapping[str, float]
    words: Sequence[str]
    problems: Sequence[str]


def predictions_of(source: Source, gold: Gold) -> Predictions:
    """Grade the prediction files of a submission. Never raises over what is in them."""
    (graded,) = grade([read(source, gold)], gold, {}).graded
    scores = {f"{name} {gold.split}": each.score for name, each in graded.scores.items()}
    if graded.overall:
        scores["overall"] = graded.overall[_YEAR].score
    problems = list(in_brief(graded.submission.problems))
    return Predictions(scores, list(_words(graded)), problems)


def _words(graded: Graded) -> list[str]:
    return [
        f"{name}: {score_names(TASKS[name])[0]} {number(each.score)} {span(each.interval)}"
        for name, each in graded.scores.items()
    ]
