"""Figures 3, 4 and 5 as ours, and beside each the shape that the paper's has."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from minbert.experiments.probe.config import R3F, R4F, SMART, STANDARD, STDPP
from minbert.experiments.probe.figures import Series
from minbert.experiments.probe.outcome import Scores, references
from minbert.experiments.probe.tables import NAMES, title
from minbert.experiments.probe.verdicts import Array, shown
from minbert.reports.picture import Picture
from minbert.reports.plotting import HUES, WIDTH, drawn
from minbert.statistics.intervals import over_seeds

_HEIGHT = 2.8
_STYLES = {"pretrained": "--", "random": ":"}
_COLORS = dict(zip((STANDARD, STDPP, SMART, R3F, R4F), HUES, strict=False))

# ranks, not numbers: what the paper's figures and text say (section 4, Figures 3 to 5)
_PAPER: Mapping[str, Mapping[str, Sequence[float]]] = {
    "3": {STDPP: [1], SMART: [2], R3F: [3.5], R4F: [3.5]},
    "4": {STANDARD: [4, 3, 2, 1], R4F: [4, 3.8, 3.6, 3.4]},
    "5": {STDPP: [1, 1.6, 2.0], R4F: [1.4, 2.6, 3.4]},
}


def pictures(figure: str, series: Sequence[Series], scores: Scores) -> Iterator[Picture]:
    """A picture for each panel of a figure, and the paper's shape."""
    for own in series:
        head = f"{title(own.name)}, {scores.solver}"
        words = "; ".join(_in_words(own, scores))
        draw = partial(_draw, series=own, scores=scores)
        yield drawn(_name(figure, own.name, scores.solver), head, words, draw, (WIDTH, _HEIGHT))
    words = "; ".join(f"{m}: {', '.join(map(str, v))}" for m, v in _PAPER[figure].items())
    shape = partial(_shape, figure=figure)
    name = _name(figure, "paper", scores.solver)
    yield drawn(name, f"{NAMES[figure]}: the paper's shape", f"ranks: {words}", shape, (WIDTH, 2.2))


def _name(figure: str, panel: str, solver: str) -> str:
    return f"figure-{figure}-{panel}-{solver}".replace("_", "-")


def _in_words(series: Series, scores: Scores) -> Iterator[str]:
    for row in series.rows:
        over = over_seeds(shown(series, row, scores))
        low, high = over.interval
        yield f"{', '.join(row)}: {over.mean:.4f} [{low:.4f}, {high:.4f}]"
    for method, value in _references(series, scores).items():
        yield f"{method}: {value:.4f}"


def _references(series: Series, scores: Scores) -> Mapping[str, float]:
    tasks = [task for _, task in next(iter(series.rows.values()))]
    return {
        place.method: float(np.mean([scores.values(place, task) for task in tasks]))
        for place in references(scores)
    }


def _draw(axes: Axes, series: Series, scores: Scores) -> None:
    points, methods = series.points, series.methods
    apart = len(points) == 1  # then every method has a place of its own
    for number, method in enumerate(methods):
        rows = [row for row in series.rows if row[0] == method]
        values = [shown(series, row, scores) for row in rows]
        shift = number if apart else 0.08 * (number - (len(methods) - 1) / 2)
        places = [shift + at for at in range(len(rows))]
        _line(axes, method, places, values)
    for method, value in _references(series, scores).items():
        axes.axhline(value, linestyle=_STYLES[method], color="grey", linewidth=1, label=method)
    labels = methods if apart else points
    axes.set_xticks(range(len(labels)), labels)
    axes.set(ylabel=f"{title(series.name)} probe")
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)
    axes.grid(axis="y")


def _line(axes: Axes, method: str, places: Sequence[float], values: Sequence[Array]) -> None:
    color = _COLORS[method]
    means = [over_seeds(own).mean for own in values]
    axes.plot(places, means, "o-", color=color, markersize=5, linewidth=1, label=method)
    for place, own in zip(places, values, strict=True):
        axes.plot([place] * len(own), own, "o", color=color, markersize=2.5, alpha=0.4)
        if len(own) > 1:
            axes.plot([place, place], over_seeds(own).interval, color=color, linewidth=2)


def _shape(axes: Axes, figure: str) -> None:
    for number, (method, ranks) in enumerate(_PAPER[figure].items()):
        places = [number] if len(ranks) == 1 else range(len(ranks))
        axes.plot(places, ranks, "o-", color=_COLORS[method], label=method)
    axes.set(ylabel="rank, without numbers", xticks=[], yticks=[])
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.05), ncols=4)
