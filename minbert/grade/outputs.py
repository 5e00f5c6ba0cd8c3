"""A graded class as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minbert.grade.graded import Class, Graded
from minbert.grade.scores import ClassScores, Overall, Scores
from minbert.grade.submission import Submission
from minbert.tasks.registry import COURSE_TASKS

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


# -------------------------------------------------------------------------------------------- JSON


def as_json(graded: Class) -> dict[str, Any]:
    """The class, ready for `json.dumps`."""
    found: dict[str, Any] = {"submissions": [_entry(one) for one in graded.graded]}
    found["baselines"] = dict(graded.baselines)
    if graded.comparison is not None:
        names = [one.name for one in graded.graded]
        found["agreement"] = {"names": names, "matrix": _rounded(graded.comparison.agreement)}
        found["near_identical"] = [
            {"names": [names[pair.first], names[pair.second]], "agreement": dict(pair.agreement)}
            for pair in graded.comparison.alike
        ]
    return found


def lint_json(submissions: Sequence[Submission]) -> dict[str, Any]:
    """The same of what was only checked."""
    return {"submissions": [{"name": one.name, **_checked(one)} for one in submissions]}


def _entry(graded: Graded) -> dict[str, Any]:
    return {
        "name": graded.name,
        "scores": {name: score_json(one) for name, one in graded.scores.items()},
        "overall": overall_json(graded.overall),
        "overall_intervals": _overall_intervals(graded.overall),
        "single_task": {
            option: {name: score_json(one) for name, one in tasks.items()}
            for option, tasks in graded.single_task.items()
        },
        "ranks": dict(graded.ranks),
        "questions": [{**vars(one), "what": str(one)} for one in graded.questions],
        **_checked(graded.submission),
    }


def _checked(submission: Submission) -> dict[str, Any]:
    problems = [{"file": p.file, "line": p.line, "what": p.what} for p in submission.problems]
    files = {**submission.checked, **dict.fromkeys(submission.unchecked)}
    return {"files": files, "problems": problems}


def score_json(score: Scores) -> dict[str, Any]:
    """One task's scores under their metrics' names; `interval` is the first one's."""
    counts = {"rows": score.rows, "missing": score.missing}
    if isinstance(score, ClassScores):
        f1 = "f1" if len(score.confusion) == 2 else "macro_f1"
        return {
            "accuracy": score.accuracy,
            "interval": list(score.interval),
            f1: score.f1,
            f"{f1}_interval": list(score.f1_interval),
            "confusion": score.confusion[:, :-1].tolist(),
            "majority": score.majority,
            **counts,
        }
    return {
        "pearson": score.pearson,
        "interval": list(score.interval),
        "spearman": score.spearman,
        "spearman_interval": list(score.spearman_interval),
        **counts,
    }


def overall_json(overall: Overall | None) -> dict[str, Any]:
    """Both overall scores by year, None where a task is not there."""
    if overall is None:
        return {"2023": None, "2024": None}
    return {"2023": overall.year_2023, "2024": overall.year_2024}


def _overall_intervals(overall: Overall | None) -> dict[str, Any]:
    if overall is None:
        return {"2023": None, "2024": None}
    return {"2023": list(overall.interval_2023), "2024": list(overall.interval_2024)}


def _rounded(matrix: Any) -> list[list[float | None]]:
    return [
        [None if np.isnan(value) else round(float(value), 4) for value in row] for row in matrix
    ]


# --------------------------------------------------------------------------------------------- CSV


def as_csv(graded: Class) -> str:
    """A line a submission; text that a spreadsheet would run as a formula gets an apostrophe."""
    rows = [_csv_row(one) for one in graded.graded]
    columns = dict.fromkeys(column for row in rows for column in row)
    return _csv(list(columns), rows)


def lint_csv(submissions: Sequence[Submission]) -> str:
    """A line a problem."""
    rows = [
        {"name": one.name, "file": p.file, "line": p.line, "what": p.what}
        for one in submissions
        for p in one.problems
    ]
    return _csv(["name", "file", "line", "what"], rows)


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: _harmless(cell) for column, cell in row.items()} for row in rows)
    return stream.getvalue()


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _csv_row(graded: Graded) -> dict[str, Any]:
    overall = overall_json(graded.overall)
    low, high = _overall_intervals(graded.overall)["2024"] or (None, None)
    row: dict[str, Any] = {
        "name": graded.name,
        "rank": graded.ranks.get("overall"),
        "overall_2024": overall["2024"],
        "overall_2024_low": low,
        "overall_2024_high": high,
        "overall_2023": overall["2023"],
    }
    for name in COURSE_TASKS:
        score = score_json(graded.scores[name]) if name in graded.scores else {}
        metrics = ("pearson", "spearman") if name == "sts" else ("accuracy",)
        f1 = {"sst": ("macro_f1",), "para": ("f1",)}.get(name, ())
        row |= {f"{name}_{metric}": score.get(metric) for metric in (*metrics, *f1)}
        row[f"{name}_low"], row[f"{name}_high"] = score.get("interval", (None, None))
        row |= {f"{name}_missing": score.get("missing"), f"{name}_rank": graded.ranks.get(name)}
    return {**row, "problems": len(graded.submission.problems), "questions": len(graded.questions)}
