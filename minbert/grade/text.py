"""A graded class as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from minbert.grade.graded import Class, Graded
from minbert.grade.scores import ClassScores, Scores
from minbert.grade.submission import Submission
from minbert.statistics.intervals import Interval
from minbert.tasks.registry import COURSE_TASKS, TASKS

_SHOWN_PAIRS = 10


def as_text(graded: Class) -> str:
    """Scores in full of one submission, else a leaderboard and what is to be asked."""
    if graded.comparison is None:
        parts = [_in_full(graded.graded[0], graded.baselines)]
    else:
        parts = [_leaderboard(graded), *_near_identical(graded)]
    parts += [f"question for {one.name}: {q}" for one in graded.graded for q in one.questions]
    return "\n".join(parts)


def lint_text(submissions: Sequence[Submission]) -> str:
    """A line a file: what it is, and whether it is as it should be."""
    rows = [["submission", "file", "what", "verdict"]]
    for one in submissions:
        count = dict.fromkeys((*one.checked, *one.unchecked), 0)
        for problem in one.problems:
            count[problem.file] = count.get(problem.file, 0) + 1
        for name, number in count.items():
            what = one.checked.get(name, "no such ids in the gold" if name in one.unchecked else "")
            verdict = "ok" if not number else f"{number} problem{'s' * (number > 1)}"
            rows.append([one.name, name, what, "not checked" if name in one.unchecked else verdict])
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side, each as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (zip(row, widths, strict=True) for row in rows)
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in row).rstrip() for row in lines)


def number(value: float | None) -> str:
    """A score to three digits, without its leading zero, as the course's papers print it."""
    if value is None:
        return "-"
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def span(interval: Interval) -> str:
    """An interval in brackets."""
    return f"[{number(interval.low)}, {number(interval.high)}]"


def second_score(score: Scores) -> tuple[str, str]:
    """The score beside the one that counts, with its interval."""
    if isinstance(score, ClassScores):
        word = "F1" if len(score.confusion) == 2 else "macro-F1"
        return f"{word} {number(score.f1)}", span(score.f1_interval)
    return f"Spearman {number(score.spearman)}", span(score.spearman_interval)


def _leaderboard(graded: Class) -> str:
    titles = [f"{name} {TASKS[name].metric_name}" for name in COURSE_TASKS]
    rows = [["rank", "submission", "overall 2024", "2023", *titles, "problems"]]
    for one in graded.graded:
        rank = one.ranks.get("overall")
        cells = [_cell(one.scores.get(name)) for name in COURSE_TASKS]
        overall = one.overall
        both = ["-", "-"]
        if overall is not None:
            interval = span(overall.interval_2024)
            both = [f"{number(overall.year_2024)} {interval}", number(overall.year_2023)]
        count = len(one.submission.problems)
        rows.append([str(rank or "-"), one.name, *both, *cells, str(count or "")])
    baselines = [number(graded.baselines.get(name)) for name in COURSE_TASKS]
    rows.append(["", "(one constant answer)", "", "", *baselines, ""])
    return aligned(rows)


def _cell(score: Scores | None) -> str:
    return "-" if score is None else f"{number(score.score)} {span(score.interval)}"


def _near_identical(graded: Class) -> Iterator[str]:
    alike = graded.comparison.alike if graded.comparison else []
    for pair in alike[:_SHOWN_PAIRS]:
        tasks = ", ".join(f"{name} {number(value)}" for name, value in pair.agreement.items())
        first, second = graded.graded[pair.first].name, graded.graded[pair.second].name
        yield f"near-identical: {first} and {second} (agreement {tasks})"
    if len(alike) > _SHOWN_PAIRS:
        yield f"and {len(alike) - _SHOWN_PAIRS} more such pairs (--json has them all)"


def _in_full(graded: Graded, baselines: Mapping[str, float]) -> str:
    rows = [["", "score", "95% interval", "", "", "rows", "missing", "constant answer"]]
    rows += [_line(name, one, baselines[name]) for name, one in graded.scores.items()]
    for option, tasks in graded.single_task.items():
        rows += [_line(f"{option} {name}", one, baselines[name]) for name, one in tasks.items()]
    overall = graded.overall
    if overall is not None:
        for year, value, interval in (
            ("2023", overall.year_2023, overall.interval_2023),
            ("2024", overall.year_2024, overall.interval_2024),
        ):
            rows.append([f"overall {year}", number(value), span(interval), *[""] * 5])
    matrices = [_confusion(name, one) for name, one in graded.scores.items()]
    return "\n".join([graded.name, aligned(rows), *filter(None, matrices)])


def _line(name: str, score: Scores, baseline: float) -> list[str]:
    task = name.rpartition(" ")[2]
    title = f"{name} {TASKS[task].metric_name}"
    counts = [f"{score.rows:,}", str(score.missing or "-"), number(baseline)]
    return [title, number(score.score), span(score.interval), *second_score(score), *counts]


def _confusion(name: str, score: Scores) -> str:
    if not isinstance(score, ClassScores) or len(score.confusion) == 2:
        return ""
    classes = [str(label) for label in range(len(score.confusion))]
    rows = [[f"{name}: label, predicted as", *classes]]
    rows += [
        [label, *map(str, row[:-1])] for label, row in zip(classes, score.confusion, strict=True)
    ]
    return aligned(rows)
