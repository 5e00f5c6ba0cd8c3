"""The scale study as curves: a panel for each thing that grows, both axes logarithmic."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minbert.experiments.scale.config import AXES
from minbert.experiments.scale.report import ABOUT, ScaleRow, by_axis
from minbert.reports.plotting import OURS, THEIRS, save


def plot(rows: Sequence[ScaleRow], path: Path) -> None:
    """Draw all panels side by side, into an SVG or PNG file."""
    panels = list(by_axis(rows))
    figure = Figure(figsize=(3.2 * len(panels), 3), layout="constrained")
    places = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (axis, group) in zip(places, panels, strict=True):
        _draw(axes, AXES[axis], group)
    save(figure, ABOUT, path)


def _draw(axes: Axes, title: str, rows: Sequence[ScaleRow]) -> None:
    values, seconds = [row.value for row in rows], [row.seconds for row in rows]
    below = [row.seconds - row.low for row in rows]
    above = [row.high - row.seconds for row in rows]
    axes.errorbar(values, seconds, [below, above], color=OURS, marker="o", label="seconds")
    steady = [seconds[0] * value / values[0] for value in values]
    axes.plot(values, steady, color=OURS, linestyle=":", label="in proportion")
    axes.set(xscale="log", yscale="log", xlabel=title)
    held = [(row.value, row.memory / 1e6) for row in rows if row.memory]
    if held:
        axes.plot(*zip(*held, strict=True), color=THEIRS, marker="s", label="MB")
    axes.minorticks_off()
    axes.set_xticks(values, [f"{value:,}" for value in values], rotation=40)
    axes.grid(visible=True, alpha=0.2)
    axes.legend(frameon=False, fontsize="small")
