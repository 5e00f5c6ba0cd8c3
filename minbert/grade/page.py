"""A graded class as one HTML page."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minbert.grade.comparison import Alike
from minbert.grade.gold import Gold
from minbert.grade.graded import Class, Column, Graded
from minbert.grade.problems import in_brief, readable
from minbert.grade.scores import Overall, Scores
from minbert.grade.text import class_names, number, second_score, span
from minbert.reports.page import render
from minbert.tasks.registry import TASKS, TITLES
from minbert.tasks.task import Array

_TEMPLATE = Path(__file__).with_name("page.html")
_SHOWN_PAIRS = 100
_NAMED = 40  # submissions; the matrix of a larger class goes without names
_NAME_WIDTH = 5  # cells
_SHADES = 10


def as_html(graded: Class, gold: Gold, ceilings: Mapping[str, float]) -> str:
    """Return a page in which nothing runs, and for which nothing is fetched."""
    comparison, names = graded.comparison, [result.name for result in graded.graded]
    alike = comparison.alike if comparison else []
    return render(
        _TEMPLATE,
        gold=readable(str(gold.folder)),
        split=gold.split,
        titles=[_title(name) for name in graded.asked],
        has_overall=graded.has_overall,
        columns=[_column_title(column) for column in graded.columns],
        points=[_points(name) for name in graded.asked],
        ranked=comparison is not None,
        ranked_overall=graded.is_ranked,
        rows=[_row(result, graded) for result in graded.graded],
        baselines=[number(graded.baselines.get(column.task)) for column in graded.columns],
        questions=[(each.name, str(asked)) for each in graded.graded for asked in each.questions],
        matrix=matrix(comparison.agreement, names) if comparison else None,
        alike=[_alike(pair, names, graded.asked) for pair in alike[:_SHOWN_PAIRS]],
        more_alike=max(0, len(alike) - _SHOWN_PAIRS),
        ceilings=[(_title(name), f"{value:g}") for name, value in ceilings.items()],
    )


def _title(name: str) -> str:
    return f"{TITLES[name]} {TASKS[name].metric_name}"


def _column_title(column: Column) -> str:
    title = _title(column.task)
    return f"{title} ({column.option}, single task)" if column.option else title


def _points(name: str) -> str:
    """Spell what a task's score counts in the course's 2024 overall."""
    if TASKS[name].is_correlation:
        return f"({TITLES[name]} r + 1) / 2"
    return _title(name)


def _alike(pair: Alike, names: Sequence[str], asked: Sequence[str]) -> dict[str, Any]:
    near = pair.agreement
    agreement = [number(near[name]) if name in near else "" for name in asked]
    return {"first": names[pair.first], "second": names[pair.second], "agreement": agreement}


def _row(graded: Graded, whole: Class) -> dict[str, Any]:
    problems = graded.submission.problems
    return {
        "name": graded.name,
        "rank": whole.rank(graded) or "–",
        "overall_2024": _bar(graded.overall.get("2024")),
        "overall_2023": _bar(graded.overall.get("2023")),
        "scores": [_bar(column.of(graded)) for column in whole.columns],
        "problems": problems,
        "shown": list(in_brief(problems)),
        "details": list(_details(graded)),
        "confusions": [
            {"title": TITLES[name], "lines": _cells(counts, class_names(name, counts))}
            for name, score in graded.scores.items()
            if (counts := score.confusion) is not None
        ],
    }


def _cells(confusion: Array, names: Sequence[str]) -> dict[str, list[tuple[int, bool]]]:
    """Return each label's counts, each of them with whether it counts right answers."""
    lines = zip(names, confusion[:, :-1].tolist(), strict=True)
    return {name: [(n, i == j) for j, n in enumerate(line)] for i, (name, line) in enumerate(lines)}


def _bar(score: Scores | Overall | None) -> dict[str, Any] | None:
    """Return a score and its interval, spelled and as places on a scale of 0 to 100."""
    if score is None:
        return None
    low, high = (100 * float(np.clip(end, 0, 1)) for end in score.interval)
    at = 100 * float(np.clip(score.score, 0, 1)) - 0.5
    width = f"{max(high - low, 0.5):.1f}"
    places = {"low": f"{low:.1f}", "width": width, "at": f"{at:.1f}"}
    return {"value": number(score.score), "span": span(score.interval), **places}


def _details(graded: Graded) -> Iterator[dict[str, Any]]:
    for name, score in graded.scores.items():
        yield _detail(_title(name), score, graded.ranks.get(name))
    for option, tasks in graded.single_task.items():
        for name, score in tasks.items():
            yield _detail(_column_title(Column(name, option)), score, None)


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
    """Return the agreement (m, m) as SVG paths, one for each shade, with names on the diagonal.

    A path draws a unit square for each cell below the diagonal. So few paths keep the page of 300
    submissions small.
    """
    count = len(names)
    few = count <= _NAMED
    labels = [
        {"x": place + 0.2, "y": place + 0.7, "text": name[:16]} for place, name in enumerate(names)
    ]
    return {
        "width": count + (_NAME_WIDTH if few else 0),
        "height": count,
        "shades": _shades(agreement),
        "labels": labels if few else [],
    }


def _shades(agreement: Array) -> list[dict[str, Any]]:
    levels = np.tril(np.ceil(np.nan_to_num(np.clip(agreement, 0, 1)) * _SHADES), -1)
    return [
        {
            "opacity": level / _SHADES,
            "path": "".join(f"M{x} {y}h1v1h-1z" for y, x in np.argwhere(levels == level)),
        }
        for level in range(1, _SHADES + 1)
        if level in levels
    ]
