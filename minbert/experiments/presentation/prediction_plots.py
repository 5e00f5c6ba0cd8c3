"""Plots of what a grid's rows predicted on dev: which classes for which, and which values."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgba
from matplotlib.patches import Rectangle

from minbert.experiments.analysis.analysis import Analysis
from minbert.experiments.grid.results import RowResult, is_accuracy
from minbert.reports.picture import Picture
from minbert.reports.plotting import INK, OURS, drawn, label
from minbert.tasks.metrics import pearson
from minbert.tasks.registry import TASKS, TITLES
from minbert.tasks.task import Array

_SIZE = (2.4, 2.5)  # inches
_DARKEST = 0.65  # opacity of the fullest cell: letters stay readable on it
_BINS = 18
_SHADES = 16


def _by_row(
    analysis: Analysis,
    tasks: Sequence[str],
    kind: str,
    title: str,
    read: Callable[[RowResult, str], Any],
    in_words: Callable[[Any], str],
    draw: Callable[..., None],
) -> Iterator[Picture]:
    """A picture for each task and finished row, of what `read` finds in the row's results."""
    for task in tasks:
        for number, result in enumerate(analysis.rows, start=1):
            if result.cells:
                found, name = read(result, task), f"{number} {result.row.name}"
                yield drawn(
                    f"{analysis.experiment.name}-{kind}-{task}-{number}",
                    f"{name}: {TITLES[task]} {title}",
                    in_words(found),
                    partial(draw, found=found, name=name),
                    _SIZE,
                )


def confusion(result: RowResult, task: str) -> Array:
    """Counts of each label (rows) predicted as each class (columns), over all seeds.

    Their sum is the number of dev examples with a label, times the number of seeds.
    """
    predictions, labels = result.predictions(task)
    classes = TASKS[task].num_outputs
    counts = np.zeros((classes, classes), dtype=np.int64)
    each = np.broadcast_to(labels.astype(np.int64), predictions.shape)
    np.add.at(counts, (each, predictions.astype(np.int64)), 1)
    return counts


def confusions(analysis: Analysis) -> Iterator[Picture]:
    """A picture for each row and each task of more than two classes."""
    tasks = [task for task in analysis.experiment.tasks if TASKS[task].num_outputs > 2]
    words, draw = _confusion_in_words, _draw_confusion
    return _by_row(analysis, tasks, "confusion", "labels and predictions", confusion, words, draw)


def _confusion_in_words(counts: Array) -> str:
    lines = (f"{label} as {', '.join(map(str, row))}" for label, row in enumerate(counts))
    return f"Label, predicted as 0, 1, ...: {'; '.join(lines)}"


def _draw_confusion(axes: Axes, found: Array, name: str) -> None:
    shares = found / np.maximum(found.sum(1, keepdims=True), 1)
    for (row, column), count in np.ndenumerate(found):
        right = row == column
        corner = (column - 0.47, row - 0.47)
        shade = to_rgba(OURS, _DARKEST * float(shares[row, column]))
        edge = INK if right else "none"
        axes.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=shade, edgecolor=edge))
        weight = "bold" if right else "normal"
        axes.text(column, row, f"{count}", ha="center", va="center", weight=weight, fontsize=8)
    classes = range(len(found))
    low, high = -0.6, len(found) - 0.4
    axes.set(xticks=classes, yticks=classes, xlim=(low, high), ylim=(high, low))
    axes.set(xlabel="predicted", ylabel="label")
    axes.set_title(label(name), fontsize=9)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def values(analysis: Analysis) -> Iterator[Picture]:
    """A picture for each row and each task with a scale: predicted values over true ones."""
    tasks = [task for task in analysis.experiment.tasks if not is_accuracy(task)]
    read, title = RowResult.predictions, "predicted and true"
    return _by_row(analysis, tasks, "values", title, read, _values_in_words, _draw_values)


def _values_in_words(found: tuple[Array, Array]) -> str:
    predictions, labels = found
    r = np.mean([pearson(of_seed, labels) for of_seed in predictions])
    steps = (
        f"{low} to {low + 1}: {predictions[:, inside].mean():.2f}"
        for low in range(int(np.floor(labels.max())) + 1)
        if (inside := (labels >= low) & (labels < low + 1)).any()
    )
    return f"Pearson r {r:.3f}; mean prediction for true values {', '.join(steps)}"


def _draw_values(axes: Axes, found: tuple[Array, Array], name: str) -> None:
    """Hexagons, the fuller the more examples: their number does not grow with that of examples."""
    predictions, labels = found
    x, y = np.broadcast_to(labels, predictions.shape).ravel(), predictions.ravel()
    low = min(x.min(), y.min())
    high = max(x.max(), y.max(), low + 1)
    shades = ListedColormap([to_rgba(OURS, step / _SHADES) for step in range(3, _SHADES + 1)])
    around = (low, high, low, high)
    axes.plot([low, high], [low, high], ":", color=INK, linewidth=1)
    axes.hexbin(x, y, gridsize=_BINS, extent=around, mincnt=1, bins="log", cmap=shades, lw=0)
    known = np.unique(np.floor(labels))
    means = [predictions[:, np.floor(labels) == step].mean() for step in known]
    middles = [labels[np.floor(labels) == step].mean() for step in known]
    axes.plot(middles, means, "D", color=INK, fillstyle="none", markersize=5)
    axes.set(xlabel="true", ylabel="predicted")
    axes.set_title(label(name), fontsize=9)
