"""A graded class as JSON and as CSV."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minbert.grade.graded import Class, Graded
from minbert.grade.scores import Scores, score_names
from minbert.grade.submission import Submission
from minbert.reports.tables import csv_text
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Task

_YEARS = ("2023", "2024")


def as_json(graded: Class) -> dict[str, Any]:
    """Return the class as a value that `json.dumps` takes."""
    content: dict[str, Any] = {
        "submissions": [_entry(result) for result in graded.graded],
        "baselines": dict(graded.baselines),
    }
    if graded.comparison is not None:
        names = [result.name for result in graded.graded]
        content["agreement"] = {"names": names, "matrix": _rounded(graded.comparison.agreement)}
        content["near_identical"] = [
            {"names": [names[pair.first], names[pair.second]], "agreement": dict(pair.agreement)}
            for pair in graded.comparison.alike
        ]
    return content


def lint_json(submissions: Sequence[Submission]) -> dict[str, Any]:
    """Return submissions that were checked, and not scored, as a value that `json.dumps` takes."""
    return {"submissions": [{"name": each.name, **_checked(each)} for each in submissions]}


def _entry(graded: Graded) -> dict[str, Any]:
    overall = graded.overall
    blank: dict[str, Any] = dict.fromkeys(_YEARS)
    return {
        "name": graded.name,
        "scores": _scores_json(graded.scores),
        "overall": blank | {year: entry.score for year, entry in overall.items()},
        "overall_intervals": blank | {y: list(entry.interval) for y, entry in overall.items()},
        "single_task": {name: _scores_json(tasks) for name, tasks in graded.single_task.items()},
        "ranks": dict(graded.ranks),
        "questions": [{**vars(asked), "what": str(asked)} for asked in graded.questions],
        **_checked(graded.submission),
    }


def _checked(submission: Submission) -> dict[str, Any]:
    problems = [{"file": p.file, "line": p.line, "what": p.what} for p in submission.problems]
    notes = [{"file": note.file, "what": note.what} for note in submission.notes]
    files = {**submission.checked, **dict.fromkeys(submission.unchecked)}
    return {"files": files, "problems": problems, "notes": notes}


def _scores_json(scores: Mapping[str, Scores]) -> dict[str, Any]:
    return {name: _score_json(TASKS[name], score) for name, score in scores.items()}


def _score_json(task: Task, score: Scores) -> dict[str, Any]:
    """Return one task's scores under their metrics' names; `interval` is that of the first."""
    first, second = score_names(task)
    entry: dict[str, Any] = {
        first: score.score,
        "interval": list(score.interval),
        second: score.second,
        f"{second}_interval": list(score.second_interval),
    }
    if score.confusion is not None:
        entry["confusion"] = score.confusion[:, :-1].tolist()
        entry["majority"] = float(score.confusion.sum(axis=1).max() / score.rows)
    return {**entry, "rows": score.rows, "missing": score.missing}


def _rounded(matrix: Any) -> list[list[float | None]]:
    return [
        [None if np.isnan(value) else round(float(value), 4) for value in row] for row in matrix
    ]


def as_csv(graded: Class) -> str:
    """Return the class as CSV, a line a submission."""
    rows = [_csv_row(result, graded) for result in graded.graded]
    return _csv(list(rows[0]), rows)


def lint_csv(submissions: Sequence[Submission]) -> str:
    """Return the problems of all submissions as CSV, a line a problem."""
    rows = [
        {"name": submission.name, **problem}
        for submission in submissions
        for problem in _checked(submission)["problems"]
    ]
    return _csv(["name", "file", "line", "what"], rows)


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    return csv_text([columns, *([row[column] for column in columns] for row in rows)])


def _csv_row(graded: Graded, whole: Class) -> dict[str, Any]:
    entry = _entry(graded)
    low, high = entry["overall_intervals"]["2024"] or (None, None)
    row: dict[str, Any] = {
        "name": graded.name,
        "rank": whole.rank(graded),
        "overall_2024": entry["overall"]["2024"],
        "overall_2024_low": low,
        "overall_2024_high": high,
        "overall_2023": entry["overall"]["2023"],
    }
    for column in whole.columns:
        task, name, scores = TASKS[column.task], column.named("_"), column.of(graded)
        score = _score_json(task, scores) if scores else {}
        row |= {f"{name}_{metric}": score.get(metric) for metric in score_names(task)}
        row[f"{name}_low"], row[f"{name}_high"] = score.get("interval", (None, None))
        row[f"{name}_missing"] = score.get("missing")
        if column.option is None:
            row[f"{name}_rank"] = graded.ranks.get(name)
    return {**row, "problems": len(entry["problems"]), "questions": len(graded.questions)}
