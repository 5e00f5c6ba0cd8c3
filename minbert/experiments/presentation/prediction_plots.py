"""Plots of what a grid's rows predicted on dev: which classes for which, and which values."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

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


def confusion(result: RowResult, task: str) -> Array:
    """How often each label (rows) was predicted as each class (columns), all seeds together.

    Its sum is the number of dev examples with a label, times that of the seeds.
    """
    predictions, labels = result.predictions(task, list(result.cells))
    classes = TASKS[task].num_outputs
    counts = np.zeros((classes, classes), dtype=np.int64)
    each = np.broadcast_to(labels.astype(np.int64), predictions.shape)
    np.add.at(counts, (each, predictions.astype(np.int64)), 1)
    return counts


def confusions(analysis: Analysis) -> Iterator[Picture]:
    """A picture a row, for every task of more than two classes."""
    for task in analysis.experiment.tasks:
        if TASKS[task].num_outputs < 3:
            continue
        for number, result in enumerate(analysis.rows, start=1):
            if result.cells:
                counts = confusion(result, task)
                lines = (f"{i} as {', '.join(map(str, own))}" for i, own in enumerate(counts))
                yield drawn(
                    f"{analysis.experiment.name}-confusion-{task}-{number}",
                    f"{number} {result.row.name}: {TITLES[task]} labels and predictions",
                    f"Label, predicted as 0, 1, ...: {'; '.join(lines)}",
                    partial(_draw_confusion, counts=counts, name=f"{number} {result.row.name}"),
                    _SIZE,
                )


def _draw_confusion(axes: Axes, counts: Array, name: str) -> None:
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    for (row, column), count in np.ndenumerate(counts):
        right = row == column
        corner = (column - 0.47, row - 0.47)
        shade = to_rgba(OURS, _DARKEST * float(shares[row, column]))
        edge = INK if right else "none"
        axes.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=shade, edgecolor=edge))
        weight = "bold" if right else "normal"
        axes.text(column, row, f"{count}", ha="center", va="center", weight=weight, fontsize=8)
    classes = range(len(counts))
    axes.set_xticks(classes)
    axes.set_yticks(classes)
    axes.set_xlim(-0.6, len(counts) - 0.4)
    axes.set_ylim(len(counts) - 0.4, -0.6)
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    axes.set_title(label(name), fontsize=9)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def values(analysis: Analysis) -> Iterator[Picture]:
    """A picture a row, for every task with a scale: predicted values over true ones."""
    for task in analysis.experiment.tasks:
        if is_accuracy(task):
            continue
        for number, result in enumerate(analysis.rows, start=1):
            if result.cells:
                predictions, labels = result.predictions(task, list(result.cells))
                yield drawn(
                    f"{analysis.experiment.name}-values-{task}-{number}",
                    f"{number} {result.row.name}: {TITLES[task]} predicted and true",
                    _in_words(predictions, labels),
                    partial(
                        _draw_values,
                        predictions=predictions,
                        labels=labels,
                        name=f"{number} {result.row.name}",
                    ),
                    _SIZE,
                )


def _in_words(predictions: Array, labels: Array) -> str:
    r = np.mean([pearson(own, labels) for own in predictions])
    steps = (
        f"{low} to {low + 1}: {predictions[:, inside].mean():.2f}"
        for low in range(int(np.floor(labels.max())) + 1)
        if (inside := (labels >= low) & (labels < low + 1)).any()
    )
    return f"Pearson r {r:.3f}; mean prediction for true values {', '.join(steps)}"


def _draw_values(axes: Axes, predictions: Array, labels: Array, name: str) -> None:
    """Hexagons, the fuller the more examples: their number does not grow with that of examples."""
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
    axes.set_xlabel("true")
    axes.set_ylabel("predicted")
    axes.set_title(label(name), fontsize=9)
