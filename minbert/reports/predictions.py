"""Plots of predictions beside labels: which classes for which, and which values for which."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgba
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from minbert.reports.picture import Picture
from minbert.reports.plotting import INK, OURS, drawn, label

Numbers = NDArray[Any]
CONFUSION_WORDS = (
    "The fuller the colour, the larger the share of the label's examples; right answers are framed."
)
VALUES_WORDS = (
    "Diamonds are the mean prediction for true values from 0 to 1, 1 to 2 and so on; the dotted "
    "line is equality."
)
_SIZE = (2.4, 2.5)  # inches
_LETTERS = 18  # of a class's name beside the axis
_MOST_COUNTS = 16  # classes whose counts and names are written; of more the colours are left
_DARKEST = 0.65  # opacity of the fullest cell: letters stay readable on it
_BINS = 18
_SHADES = 16


def counts_of(predictions: Numbers, labels: Numbers, classes: int) -> NDArray[np.int64]:
    """Counts of each label (rows) predicted as each class (columns).

    `predictions` are (seeds, n) or (n,), `labels` (n,). The sum of the counts is the number of
    predictions.
    """
    counts = np.zeros((classes, classes), dtype=np.int64)
    each = np.broadcast_to(labels.astype(np.int64), predictions.shape)
    np.add.at(counts, (each, predictions.astype(np.int64)), 1)
    return counts


def confusion_picture(
    name: str, title: str, heading: str, counts: NDArray[np.int64], classes: Sequence[str]
) -> Picture:
    """The counts as a table of shaded cells, with `heading` above it. `classes` name the rows."""
    rows = zip(classes, counts, strict=True)
    lines = (f"{name} as {', '.join(map(str, row))}" for name, row in rows)
    words = f"Label, predicted as {', '.join(classes)}: {'; '.join(lines)}"
    numbered = [_numbered(number, own) for number, own in enumerate(classes)]
    draw = partial(_draw_counts, counts=counts, heading=heading, classes=numbered)
    return drawn(name, title, words, draw, _size_of(numbered))


def _numbered(number: int, name: str) -> str:
    """A class beside the axis of labels: the other axis has its number alone."""
    short = name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
    return label(short if name == str(number) else f"{short}  {number}")


def _size_of(classes: Sequence[str]) -> tuple[float, float]:
    """Inches: room for the longest name, and from six classes on for every further one."""
    more = max(0, min(len(classes), _MOST_COUNTS) - 5) * 0.24
    names = max(map(len, classes)) if len(classes) <= _MOST_COUNTS else 3
    return _SIZE[0] + more + 0.07 * names, _SIZE[1] + more


def _draw_counts(
    axes: Axes, counts: NDArray[np.int64], heading: str, classes: Sequence[str]
) -> None:
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    for (row, column), count in np.ndenumerate(counts):
        right = row == column
        corner = (column - 0.47, row - 0.47)
        shade = to_rgba(OURS, _DARKEST * float(shares[row, column]))
        edge = INK if right else "none"
        axes.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=shade, edgecolor=edge))
        weight = "bold" if right else "normal"
        if len(counts) <= _MOST_COUNTS:
            axes.text(column, row, f"{count}", ha="center", va="center", weight=weight, fontsize=8)
    low, high = -0.6, len(counts) - 0.4
    axes.set(xlim=(low, high), ylim=(high, low), xlabel="predicted", ylabel="label")
    if len(counts) <= _MOST_COUNTS:
        places = range(len(counts))
        axes.set_xticks(places)
        axes.set_yticks(places, classes)
    axes.set_title(label(heading), fontsize=9)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def values_picture(
    name: str, title: str, heading: str, predictions: Numbers, labels: Numbers, r: float
) -> Picture:
    """Predicted values (seeds, n) over true ones (n,); `r` is their correlation, for the words."""
    steps = (
        f"{low} to {low + 1}: {predictions[:, inside].mean():.2f}"
        for low in range(int(np.floor(labels.max())) + 1)
        if (inside := (labels >= low) & (labels < low + 1)).any()
    )
    words = f"Pearson r {r:.3f}; mean prediction for true values {', '.join(steps)}"
    draw = partial(_draw_values, predictions=predictions, labels=labels, heading=heading)
    return drawn(name, title, words, draw, _SIZE)


def _draw_values(axes: Axes, predictions: Numbers, labels: Numbers, heading: str) -> None:
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
    axes.set(xlabel="true", ylabel="predicted")
    axes.set_title(label(heading), fontsize=9)
