"""Plots of an analysed grid's scores: against their cost, over seeds, by epoch.

A row goes by its number where its name has no room, so that colour never stands alone.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullFormatter

from minbert.experiments.analysis.analysis import Analysis, scored
from minbert.experiments.grid.experiment import SECONDS
from minbert.experiments.grid.results import RowResult
from minbert.experiments.presentation.task_picture import task_picture
from minbert.reports.picture import Picture
from minbert.reports.plotting import HUES, OURS, THEIRS, label
from minbert.tasks.registry import TASKS, TITLES
from minbert.tasks.task import Array

_LINES = ("-", "--", ":", "-.")
_WIDE = 10.0  # costs this many times apart are shown on a logarithmic axis
Numbered = tuple[int, RowResult]


def _axis_title(task: str) -> str:
    return f"{TITLES[task]} {TASKS[task].metric_name}, dev"


def _finished(analysis: Analysis) -> list[Numbered]:
    return [(n, result) for n, result in enumerate(analysis.rows, start=1) if result.cells]


def _summary(result: RowResult, task: str) -> str:
    over, (low, high) = scored(result, task)
    theirs = result.row.published.get(task)
    published = "" if theirs is None else f", published {theirs:.3f}"
    return f"{over.mean:.3f} [{low:.3f}, {high:.3f}]{published}"


def _listed(scores: Sequence[float] | Array) -> str:
    return ", ".join(f"{score:.3f}" for score in scores)


def against_cost(analysis: Analysis) -> Iterator[Picture]:
    """A picture for each task: mean scores and intervals over seconds an epoch, and published."""
    rows = _finished(analysis)
    for task in analysis.experiment.tasks:
        words = "; ".join(
            f"{number} {result.row.name}: {np.mean(result.seconds()):.3g} s an epoch, "
            f"{_summary(result, task)}"
            for number, result in rows
        )
        draw = partial(_draw_costs, rows=rows, task=task)
        yield task_picture(analysis, task, "cost", "score against cost", words, draw)


def _draw_costs(axes: Axes, rows: Sequence[Numbered], task: str) -> None:
    places = []
    for number, result in rows:
        at = float(np.mean(result.seconds()))
        over, interval = scored(result, task)
        axes.plot([at, at], interval, color=OURS, alpha=0.5)
        axes.plot(at, over.mean, "o", color=OURS)
        axes.annotate(f"{number}", (at, over.mean), (4, 3), textcoords="offset points")
        places.append(at)
        theirs = result.row.published
        if task in theirs and SECONDS in theirs:
            place = (theirs[SECONDS], theirs[task])
            axes.plot(*place, "D", color=THEIRS, fillstyle="none")
            axes.annotate(
                f"{number}", place, (5, -9), textcoords="offset points", fontstyle="italic"
            )
            places.append(place[0])
    if min(places) > 0 and max(places) > _WIDE * min(places):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.08)
    axes.set_xlabel("seconds of training an epoch")
    axes.set_ylabel(_axis_title(task))
    axes.grid()


def over_seeds(analysis: Analysis) -> Iterator[Picture]:
    """A picture for each task: a dot a seed, the mean, its interval, and the published figure."""
    rows = _finished(analysis)
    for task in analysis.experiment.tasks:
        words = "; ".join(
            f"{number} {result.row.name}: {_summary(result, task)}; "
            f"by seed {_listed(result.scores(task))}"
            for number, result in rows
        )
        draw, height = partial(_draw_seeds, rows=rows, task=task), 0.28 * len(rows) + 0.8
        yield task_picture(analysis, task, "seeds", "every seed", words, draw, height)


def _draw_seeds(axes: Axes, rows: Sequence[Numbered], task: str) -> None:
    for place, (_, result) in enumerate(rows):
        over, interval = scored(result, task)
        axes.plot(interval, [place, place], color=OURS, linewidth=5, alpha=0.3)
        axes.plot(over.mean, place, "|", color=OURS, markersize=13, markeredgewidth=2)
        scores = result.scores(task)
        axes.plot(scores, [place] * len(scores), "o", color=OURS, markersize=4, alpha=0.8)
        if (theirs := result.row.published.get(task)) is not None:
            axes.plot(theirs, place, "D", color=THEIRS, fillstyle="none")
    axes.set_yticks(range(len(rows)), [label(f"{n} {result.row.name}") for n, result in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(_axis_title(task))
    axes.grid(axis="x")


def by_epoch(analysis: Analysis) -> Iterator[Picture]:
    """A picture for each task: dev score after each epoch, a line a row, thin ones for its seeds.

    A task whose runs all have one epoch has no picture.
    """
    for task in analysis.experiment.tasks:
        rows = _finished(analysis)
        curves = [(number, _curves(result, task)) for number, result in rows]
        if max((len(scores[0]) for _, scores in curves), default=0) < 2:
            continue
        lines = "; ".join(
            f"{number} {result.row.name}: {_listed(scores.mean(0))}"
            for (number, result), (_, scores) in zip(rows, curves, strict=True)
        )
        words = f"Means over the seeds after each epoch. {lines}"
        draw = partial(_draw_curves, curves=curves, task=task)
        yield task_picture(analysis, task, "epochs", "by epoch", words, draw)


def _curves(result: RowResult, task: str) -> Array:
    """Dev scores (seeds, epochs)."""
    runs = [result.result(seed, task).manifest["epochs"] for seed in result.cells]
    return np.array([[epoch["scores"][task] for epoch in epochs] for epochs in runs])


def _draw_curves(axes: Axes, curves: Sequence[tuple[int, Array]], task: str) -> None:
    for place, (_, scores) in enumerate(curves):
        color, line = HUES[place % len(HUES)], _LINES[place // len(HUES) % len(_LINES)]
        epochs = range(1, scores.shape[1] + 1)
        for of_seed in scores:
            axes.plot(epochs, of_seed, color=color, linewidth=0.6, alpha=0.5)
        axes.plot(epochs, scores.mean(0), line, color=color, marker=".")
    low, high = axes.get_ylim()
    ends = [float(scores.mean(0)[-1]) for _, scores in curves]
    heights = _apart(ends, 0.05 * (high - low))
    for (number, scores), height in zip(curves, heights, strict=True):
        end = (scores.shape[1], height)
        axes.annotate(f"{number}", end, (6, -3), textcoords="offset points")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%.2f"))
    axes.set_ylabel(_axis_title(task))
    axes.grid()


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """The values moved up, as little as it takes, until each is `gap` above the one below."""
    moved, below = [0.0] * len(values), -np.inf
    for place in np.argsort(values, kind="stable"):
        below = max(values[place], below + gap)
        moved[place] = float(below)
    return moved
