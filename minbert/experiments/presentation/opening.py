"""What a grid's section opens with: its result in words, and one picture of all rows."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from minbert.experiments.analysis.analysis import Analysis
from minbert.experiments.analysis.differences import Difference
from minbert.experiments.grid.columns import Column, title_of
from minbert.experiments.grid.results import RowResult
from minbert.reports.picture import Picture
from minbert.reports.plotting import OURS, WIDTH, drawn, label
from minbert.statistics import intervals

_NAMED = 3  # differences in words
_LEAST = 0.01  # between the ends of the axis: rows that differ by less look alike


def headline(analysis: Analysis) -> list[str]:
    """Which row is best, and which differences are more than noise."""
    done = [result for result in analysis.rows if result.cells]
    if not done:
        return ["No run has finished yet."]
    if not analysis.experiment.tasks:
        return ["The rows have no score in common."]
    return [_best(analysis, done), *_differences(analysis.differences)]


def _best(analysis: Analysis, done: Sequence[RowResult]) -> str:
    tasks = analysis.experiment.tasks
    means = [float(np.mean(points(result, tasks))) for result in done]
    best = done[int(np.argmax(means))]
    each = ", ".join(f"{title_of(task)} {np.mean(best.scores(task)):.3f}" for task in tasks)
    if len(done) == 1:
        return f"“{best.row.name}” reaches {each}."
    return f"Of {len(done)} rows, “{best.row.name}” has the highest mean over the tasks ({each})."


def _differences(found: Sequence[Difference]) -> list[str]:
    if not found:
        return []
    seen = sorted((pair for pair in found if pair.is_seen), key=lambda pair: -abs(pair.value))
    if not seen and len(found) == 1:
        return ["The one difference that was tested is not more than noise."]
    if not seen:
        return [f"None of the {len(found)} differences that were tested is more than noise."]
    counted = f"Of {len(found)} differences that were tested, {len(seen)} are more than noise."
    if len(found) == 1:
        counted = "The one difference that was tested is more than noise."
    what = "The largest: " if len(seen) > _NAMED else ""
    lines = [f"{counted} {what}{'; '.join(map(_in_words, seen[:_NAMED]))}."]
    if any(pair.seeds == 1 for pair in seen):
        lines.append("With one seed this is about these trained models, not about the methods.")
    return lines


def _in_words(pair: Difference) -> str:
    names = (pair.first, pair.second) if pair.value > 0 else (pair.second, pair.first)
    above, below = (f"“{name}”" for name in names)
    return f"On {title_of(pair.task)} {above} is {abs(pair.value):.3f} above {below}"


def points(result: RowResult, tasks: Sequence[str]) -> list[float]:
    """The mean of the tasks' points for each seed; a correlation r counts as (r + 1) / 2."""
    by_seed = zip(*(result.scores(task) for task in tasks), strict=True)
    metrics = [Column.read(task).metric for task in tasks]
    return [
        float(np.mean([m.points(s) for m, s in zip(metrics, scores, strict=True)]))
        for scores in by_seed
    ]


def picture(analysis: Analysis) -> Picture:
    """A line for each row with its mean over the tasks: a dot a seed, the mean, its interval."""
    tasks = analysis.experiment.tasks
    rows = [
        (f"{number} {result.row.name}", points(result, tasks))
        for number, result in enumerate(analysis.rows, start=1)
        if result.cells
    ]
    words = "; ".join(f"{name}: {np.mean(own):.3f}" for name, own in rows)
    title = "Mean over the tasks: a dot a seed, the stroke their mean, the band its 95% interval"
    size = (WIDTH, 0.26 * len(rows) + 0.8)
    name = f"{analysis.experiment.name}-overall"
    return drawn(name, title, words, partial(_draw, rows=rows, tasks=tasks), size)


def _draw(axes: Axes, rows: Sequence[tuple[str, list[float]]], tasks: Sequence[str]) -> None:
    for place, (_, own) in enumerate(rows):
        over = intervals.over_seeds(own)
        if over.count > 1:
            axes.plot(over.interval, [place, place], color=OURS, linewidth=5, alpha=0.3)
            axes.plot(over.mean, place, "|", color=OURS, markersize=13, markeredgewidth=2)
        axes.plot(own, [place] * len(own), "o", color=OURS, markersize=4, alpha=0.8)
    axes.set_yticks(range(len(rows)), [label(name) for name, _ in rows])
    low, high = axes.get_xlim()
    middle, half = (low + high) / 2, max(high - low, _LEAST) / 2
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlim=(middle - half, middle + half))
    axes.set(xlabel=f"mean of {', '.join(title_of(task) for task in tasks)}, dev")
    axes.grid(axis="x")
