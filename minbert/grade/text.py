"""A graded class as text for a terminal."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from minbert.grade.graded import Class, Graded
from minbert.grade.scores import Overall, Scores
from minbert.grade.submission import Submission
from minbert.statistics.intervals import Interval
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Array

_SHOWN_PAIRS = 10


def as_text(graded: Class) -> str:
    """Return one submission's scores in full, or a class's leaderboard; and what is to be asked."""
    if graded.comparison is None:
        blocks = [_in_full(graded.graded[0], graded.baselines)]
    else:
        blocks = [_leaderboard(graded), *_near_identical(graded)]
    blocks += [f"question for {each.name}: {q}" for each in graded.graded for q in each.questions]
    return "\n".join(blocks)


def lint_text(submissions: Sequence[Submission]) -> str:
    """Return a line for each file: what it is, and whether it is as it should be."""
    rows = [["submission", "file", "what", "verdict"]]
    for submission in submissions:
        problems = Counter(problem.file for problem in submission.problems)
        for file in dict.fromkeys((*submission.checked, *submission.unchecked, *problems)):
            count = problems[file]
            what = submission.checked.get(file, "")
            verdict = f"{count} problem{'s' * (count > 1)}" if count else "ok"
            if file in submission.unchecked:
                what, verdict = what or submission.unchecked[file], "not checked"
            rows.append([submission.name, file, what, verdict])
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Set columns side by side, each as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (zip(row, widths, strict=True) for row in rows)
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in row).rstrip() for row in lines)


def number(value: float | None) -> str:
    """Spell a score to three digits, without a leading zero, as the course's papers do."""
    if value is None:
        return "-"
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def span(interval: Interval) -> str:
    """Spell an interval in brackets."""
    return f"[{number(interval.low)}, {number(interval.high)}]"


def second_score(score: Scores) -> tuple[str, str]:
    """Spell the score that stands beside the one that counts, and its interval."""
    word = "Spearman"
    if score.confusion is not None:
        word = "F1" if len(score.confusion) == 2 else "macro-F1"
    return f"{word} {number(score.second)}", span(score.second_interval)


def class_names(name: str, confusion: Array) -> list[str]:
    """The names of a task's classes."""
    return list(TASKS[name].labels) or [str(label) for label in range(len(confusion))]


def _leaderboard(graded: Class) -> str:
    columns = graded.columns
    titles = [f"{each.named(' ')} {TASKS[each.task].metric_name}" for each in columns]
    years = ["overall 2024", "2023"] if graded.has_overall else []
    rank = ["rank"] if graded.is_ranked else []
    rows = [[*rank, "submission", *years, *titles, "problems"]]
    for result in graded.graded:
        place = [str(graded.rank(result) or "-")][: len(rank)]
        mean = number(result.overall["2023"].score if result.overall else None)
        overall = [_cell(result.overall.get("2024")), mean][: len(years)]
        cells = [_cell(column.of(result)) for column in columns]
        count = str(len(result.submission.problems) or "")
        rows.append([*place, result.name, *overall, *cells, count])
    baselines = [number(graded.baselines.get(column.task)) for column in columns]
    rows.append([*[""] * len(rank), "(one constant answer)", *[""] * len(years), *baselines, ""])
    return aligned(rows)


def _cell(score: Scores | Overall | None) -> str:
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
    rows += [_line(name, score, baselines[name]) for name, score in graded.scores.items()]
    for option, tasks in graded.single_task.items():
        rows += [_line(f"{option} {name}", score, baselines[name]) for name, score in tasks.items()]
    for year, overall in graded.overall.items():
        rows.append([f"overall {year}", number(overall.score), span(overall.interval), *[""] * 5])
    matrices = [_confusion(name, score) for name, score in graded.scores.items()]
    return "\n".join([graded.name, aligned(rows), *filter(None, matrices)])


def _line(name: str, score: Scores, baseline: float) -> list[str]:
    task = name.rpartition(" ")[2]
    title = f"{name} {TASKS[task].metric_name}"
    counts = [f"{score.rows:,}", str(score.missing or "-"), number(baseline)]
    return [title, number(score.score), span(score.interval), *second_score(score), *counts]


def _confusion(name: str, score: Scores) -> str:
    if score.confusion is None or len(score.confusion) == 2:
        return ""
    classes = class_names(name, score.confusion)
    rows = [[f"{name}: label, predicted as", *classes]]
    rows += [
        [label, *map(str, row[:-1])] for label, row in zip(classes, score.confusion, strict=True)
    ]
    return aligned(rows)
