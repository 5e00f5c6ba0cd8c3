"""Plots of an analysed grid's scores: against their cost, over seeds, by epoch.

Rows go by their number where a name has no room, so that colour never stands alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullFormatter

from minbert.experiments.analysis.analysis import Analysis, scored
from minbert.experiments.grid.experiment import SECONDS
from minbert.experiments.grid.results import RowResult
from minbert.reports.picture import Picture
from minbert.reports.plotting import HUES, OURS, THEIRS, WIDTH, drawn, label
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


# -------------------------------------------------------------------------- score against cost


def against_cost(analysis: Analysis) -> Iterator[Picture]:
    """A task a picture: mean scores with their intervals over seconds an epoch, and published."""
    rows = _finished(analysis)
    for task in analysis.experiment.tasks:
        lines = (
            f"{number} {result.row.name}: {np.mean(result.seconds()):.3g} s an epoch, "
            f"{_summary(result, task)}"
            for number, result in rows
        )
        yield drawn(
            f"{analysis.experiment.name}-cost-{task}",
            f"{TITLES[task]}: score against cost",
            "; ".join(lines),
            partial(_draw_costs, rows=rows, task=task),
            (WIDTH, 3.1),
        )


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


# ----------------------------------------------------------------------------------- over seeds


def over_seeds(analysis: Analysis) -> Iterator[Picture]:
    """A task a picture: a dot a seed, the mean, its interval, and the published figure."""
    rows = _finished(analysis)
    for task in analysis.experiment.tasks:
        lines = (
            f"{number} {result.row.name}: {_summary(result, task)}; by seed "
            + ", ".join(f"{score:.3f}" for score in result.scores(task))
            for number, result in rows
        )
        yield drawn(
            f"{analysis.experiment.name}-seeds-{task}",
            f"{TITLES[task]}: every seed",
            "; ".join(lines),
            partial(_draw_seeds, rows=rows, task=task),
            (WIDTH, 0.28 * len(rows) + 0.8),
        )


def _draw_seeds(axes: Axes, rows: Sequence[Numbered], task: str) -> None:
    for place, (_, result) in enumerate(rows):
        over, interval = scored(result, task)
        axes.plot(interval, [place, place], color=OURS, linewidth=5, alpha=0.3)
        axes.plot(over.mean, place, "|", color=OURS, markersize=13, markeredgewidth=2)
        scores = result.scores(task)
        axes.plot(scores, [place] * len(scores), "o", color=OURS, markersize=4, alpha=0.8)
        if (theirs := result.row.published.get(task)) is not None:
            axes.plot(theirs, place, "D", color=THEIRS, fillstyle="none")
    axes.set_yticks(range(len(rows)), [label(f"{n} {one.row.name}") for n, one in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(_axis_title(task))
    axes.grid(axis="x")


# -------------------------------------------------------------------------------------- by epoch


def by_epoch(analysis: Analysis) -> Iterator[Picture]:
    """A task a picture: dev score after each epoch, a line a row, thin ones for its seeds.

    None for a task whose runs all have one epoch.
    """
    for task in analysis.experiment.tasks:
        curves = [
            (number, result.row.name, _curves(result, task))
            for number, result in _finished(analysis)
        ]
        if max((len(own[0]) for _, _, own in curves), default=0) < 2:
            continue
        lines = (
            f"{number} {name}: " + ", ".join(f"{score:.3f}" for score in own.mean(0))
            for number, name, own in curves
        )
        yield drawn(
            f"{analysis.experiment.name}-epochs-{task}",
            f"{TITLES[task]}: by epoch",
            "Means over the seeds after each epoch. " + "; ".join(lines),
            partial(_draw_curves, curves=[(n, own) for n, _, own in curves], task=task),
            (WIDTH, 3.1),
        )


def _curves(result: RowResult, task: str) -> Array:
    """Dev scores (seeds, epochs)."""
    manifests = [result.result(seed, task).manifest for seed in result.cells]
    return np.array([[epoch["scores"][task] for epoch in one["epochs"]] for one in manifests])


def _draw_curves(axes: Axes, curves: Sequence[tuple[int, Array]], task: str) -> None:
    for place, (_, own) in enumerate(curves):
        color, line = HUES[place % len(HUES)], _LINES[place // len(HUES) % len(_LINES)]
        epochs = range(1, own.shape[1] + 1)
        for scores in own:
            axes.plot(epochs, scores, color=color, linewidth=0.6, alpha=0.5)
        axes.plot(epochs, own.mean(0), line, color=color, marker=".")
    low, high = axes.get_ylim()
    ends = [(own.shape[1], float(own.mean(0)[-1])) for _, own in curves]
    heights = _apart([end for _, end in ends], 0.05 * (high - low))
    for (number, _), (last, _), height in zip(curves, ends, heights, strict=True):
        axes.annotate(f"{number}", (last, height), (6, -3), textcoords="offset points")
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
