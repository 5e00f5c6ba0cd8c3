"""A graded class as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minbert.grade.gold import Gold
from minbert.grade.graded import Class, Graded
from minbert.grade.problems import in_brief, readable
from minbert.grade.scores import ClassScores, Scores
from minbert.grade.text import number, second_score, span
from minbert.reports.page import render
from minbert.statistics.intervals import Interval
from minbert.tasks.registry import COURSE_TASKS, TASKS, TITLES
from minbert.tasks.task import Array

_TEMPLATE = Path(__file__).with_name("page.html")
_SHOWN_PAIRS = 100
_NAMED = 40  # submissions; the matrix of a larger class goes without names
_NAME_WIDTH = 5  # cells
_SHADES = 10


def as_html(graded: Class, gold: Gold, ceilings: Mapping[str, float]) -> str:
    """The page. Nothing in it runs, and nothing is fetched."""
    comparison, names = graded.comparison, [one.name for one in graded.graded]
    alike = comparison.alike if comparison else []
    return render(
        _TEMPLATE,
        gold=readable(str(gold.folder)),
        split=gold.split,
        titles=[_title(name) for name in COURSE_TASKS],
        ranked=comparison is not None,
        rows=[_row(one) for one in graded.graded],
        baselines=[number(graded.baselines.get(name)) for name in COURSE_TASKS],
        questions=[(one.name, str(asked)) for one in graded.graded for asked in one.questions],
        matrix=matrix(comparison.agreement, names) if comparison else None,
        alike=[
            {
                "first": names[pair.first],
                "second": names[pair.second],
                "agreement": [
                    number(pair.agreement[name]) if name in pair.agreement else ""
                    for name in COURSE_TASKS
                ],
            }
            for pair in alike[:_SHOWN_PAIRS]
        ],
        more_alike=max(0, len(alike) - _SHOWN_PAIRS),
        ceilings=[(_title(name), f"{value:g}") for name, value in ceilings.items()],
    )


def _title(name: str) -> str:
    return f"{TITLES[name]} {TASKS[name].metric_name}"


def _row(graded: Graded) -> dict[str, Any]:
    overall = graded.overall
    problems = graded.submission.problems
    return {
        "name": graded.name,
        "rank": graded.ranks.get("overall") or "–",
        "overall_2024": _bar(overall.year_2024, overall.interval_2024) if overall else None,
        "overall_2023": _bar(overall.year_2023, overall.interval_2023) if overall else None,
        "scores": [
            _bar(one.score, one.interval) if (one := graded.scores.get(name)) else None
            for name in COURSE_TASKS
        ],
        "problems": problems,
        "shown": list(in_brief(problems)),
        "details": list(_details(graded)),
        "confusions": [
            {"title": TITLES[name], "labels": range(len(one.confusion)), "lines": _cells(one)}
            for name, one in graded.scores.items()
            if isinstance(one, ClassScores)
        ],
    }


def _cells(score: ClassScores) -> list[list[tuple[int, bool]]]:
    """Counts, and whether they are right answers."""
    square = score.confusion[:, :-1].tolist()
    return [[(n, i == j) for j, n in enumerate(line)] for i, line in enumerate(square)]


def _bar(value: float, interval: Interval) -> dict[str, Any]:
    """A score, and its interval on a scale of 0 to 100."""
    low, high = (100 * float(np.clip(end, 0, 1)) for end in interval)
    at = 100 * float(np.clip(value, 0, 1)) - 0.5
    width = f"{max(high - low, 0.5):.1f}"
    ends = {"low": f"{low:.1f}", "width": width, "at": f"{at:.1f}"}
    return {"value": number(value), "span": span(interval), **ends}


def _details(graded: Graded) -> Iterator[dict[str, Any]]:
    for name, one in graded.scores.items():
        yield _detail(_title(name), one, graded.ranks.get(name))
    for option, tasks in graded.single_task.items():
        for name, one in tasks.items():
            yield _detail(f"{_title(name)} ({option}, single task)", one, None)


def _detail(title: str, score: Scores, rank: int | None) -> dict[str, Any]:
    other, other_span = second_score(score)
    return {
        "title": title,
        "value": number(score.score),
        "span": span(score.interval),
        "other": other,
        "other_span": other_span,
        "rows": f"{score.rows:,}",
        "missing": score.missing or "",
        "rank": rank or "–",
    }


def matrix(agreement: Array, names: Sequence[str]) -> dict[str, Any]:
    """The agreement as SVG paths, one a shade, so that 300 submissions stay a small page.

    A path draws a unit square for each cell below the diagonal. Names stand on it.
    """
    count = len(names)
    shades = []
    rounded = np.ceil(np.nan_to_num(np.clip(agreement, 0, 1)) * _SHADES)
    below = np.tril(np.ones_like(agreement, dtype=bool), -1)
    for shade in range(1, _SHADES + 1):
        cells = np.argwhere((rounded == shade) & below)
        path = "".join(f"M{column} {row}h1v1h-1z" for row, column in cells)
        shades.append({"opacity": shade / _SHADES, "path": path})
    few = count <= _NAMED
    labels = [
        {"x": place + 0.2, "y": place + 0.7, "text": name[:16]} for place, name in enumerate(names)
    ]
    return {
        "width": count + (_NAME_WIDTH if few else 0),
        "height": count,
        "shades": [shade for shade in shades if shade["path"]],
        "labels": labels if few else [],
    }
