"""Plots of an analysed grid's scores: against their cost, over seeds, by epoch.

A row goes by its number where its name has no room, so that colour never stands alone.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from minbert.experiments.analysis.analysis import Analysis, scored
from minbert.experiments.grid.columns import Column, decisive
from minbert.experiments.grid.experiment import SECONDS
from minbert.experiments.grid.results import RowResult
from minbert.reports.picture import Picture
from minbert.reports.plotting import HUES, OURS, THEIRS, WIDTH, annotate, drawn, label
from minbert.tasks.registry import TASKS
from minbert.tasks.task import Array

_LINES = ("-", "--", ":", "-.")
_WIDE = 10.0  # costs this many times apart are shown on a logarithmic axis
Numbered = tuple[int, RowResult]


def _axis_title(task: str) -> str:
    return f"{Column.read(task).heading}, dev"


def _finished(analysis: Analysis) -> list[Numbered]:
    return [(n, result) for n, result in enumerate(analysis.rows, start=1) if result.cells]


def _summary(result: RowResult, task: str) -> str:
    over, (low, high) = scored(result, task)
    theirs = result.row.published.get(task)
    published = "" if theirs is None else f", published {theirs:.3f}"
    return f"{over.mean:.3f} [{low:.3f}, {high:.3f}]{published}"


def _listed(scores: Sequence[float] | Array) -> str:
    return ", ".join(f"{score:.3f}" for score in scores)


def task_picture(
    analysis: Analysis,
    task: str,
    kind: str,
    title: str,
    words: str,
    draw: Callable[[Axes], object],
    height: float,
) -> Picture:
    """A picture about one task, `height` inches high; `kind` is a part of its file's name."""
    place = analysis.experiment.columns.index(task)
    word = task if task in TASKS else f"{Column.read(task).task.name}-{place}"
    name = f"{analysis.experiment.name}-{kind}-{word}"
    return drawn(name, f"{Column.read(task).title}: {title}", words, draw, (WIDTH, height))


def _by_task(
    analysis: Analysis,
    tasks: Sequence[str],
    kind: str,
    title: str,
    in_words: Callable[[RowResult, str], str],
    draw: Callable[..., None],
    intro: str = "",
    height: float = 3.1,
) -> Iterator[Picture]:
    """A picture for each task, with `intro` and then `in_words` for each finished row."""
    rows = _finished(analysis)
    for task in tasks:
        lines = (f"{number} {result.row.name}: {in_words(result, task)}" for number, result in rows)
        words, draw_task = intro + "; ".join(lines), partial(draw, rows=rows, task=task)
        yield task_picture(analysis, task, kind, title, words, draw_task, height)


def against_cost(analysis: Analysis) -> Iterator[Picture]:
    """A picture for each task: mean scores and intervals over seconds an epoch, and published."""
    tasks, title = analysis.experiment.tasks, "score against cost"
    return _by_task(analysis, tasks, "cost", title, _cost_in_words, _draw_costs)


def _cost_in_words(result: RowResult, task: str) -> str:
    return f"{np.mean(result.seconds()):.3g} s an epoch, {_summary(result, task)}"


def _draw_costs(axes: Axes, rows: Sequence[Numbered], task: str) -> None:
    places = []
    for number, result in rows:
        at = float(np.mean(result.seconds()))
        over, interval = scored(result, task)
        axes.plot([at, at], interval, color=OURS, alpha=0.5)
        axes.plot(at, over.mean, "o", color=OURS)
        annotate(axes, f"{number}", (at, over.mean))
        places.append(at)
        theirs = result.row.published
        if task in theirs and SECONDS in theirs:
            place = (theirs[SECONDS], theirs[task])
            axes.plot(*place, "D", color=THEIRS, fillstyle="none")
            annotate(axes, f"{number}", place, fontstyle="italic")
            places.append(place[0])
    if min(places) > 0 and max(places) > _WIDE * min(places):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.margins(0.08)
    axes.set(xlabel="seconds of training an epoch", ylabel=_axis_title(task))
    axes.grid()


def over_seeds(analysis: Analysis) -> Iterator[Picture]:
    """A picture for each task: a dot a seed, the mean, its interval, and the published figure."""
    tasks, height = analysis.experiment.tasks, 0.28 * len(_finished(analysis)) + 0.8
    words, draw = _seeds_in_words, _draw_seeds
    return _by_task(analysis, tasks, "seeds", "every seed", words, draw, height=height)


def _seeds_in_words(result: RowResult, task: str) -> str:
    return f"{_summary(result, task)}; by seed {_listed(result.scores(task))}"


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
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=_axis_title(task))
    # scores that are nearly equal have long labels
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.grid(axis="x")


def by_epoch(analysis: Analysis) -> Iterator[Picture]:
    """A picture for each task: dev score after each epoch, a line a row, thin ones for its seeds.

    A task whose runs all have one epoch has no picture.
    """
    rows = _finished(analysis)
    tasks = [
        task
        for task in decisive(analysis.experiment.tasks)
        if any(_curves(result, task).shape[1] > 1 for _, result in rows)
    ]
    intro = "Means over the seeds after each epoch. "
    return _by_task(analysis, tasks, "epochs", "by epoch", _curve_in_words, _draw_curves, intro)


def _curve_in_words(result: RowResult, task: str) -> str:
    return _listed(_curves(result, task).mean(0))


def _curves(result: RowResult, task: str) -> Array:
    """Dev scores (seeds, epochs)."""
    runs = [result.result(seed, task).manifest["epochs"] for seed in result.cells]
    return np.array([[epoch["scores"][task] for epoch in epochs] for epochs in runs])


def _draw_curves(axes: Axes, rows: Sequence[Numbered], task: str) -> None:
    curves = [(number, _curves(result, task)) for number, result in rows]
    for place, (_, scores) in enumerate(curves):
        color, line = HUES[place % len(HUES)], _LINES[place // len(HUES) % len(_LINES)]
        epochs = range(1, scores.shape[1] + 1)
        for of_seed in scores:
            axes.plot(epochs, of_seed, color=color, linewidth=0.6, alpha=0.5)
        axes.plot(epochs, scores.mean(0), line, color=color, marker=".")
    for number, scores in curves:
        annotate(axes, f"{number}", (scores.shape[1], float(scores.mean(0)[-1])), "beside")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.set(xlabel="epoch", ylabel=_axis_title(task))
    axes.grid()
