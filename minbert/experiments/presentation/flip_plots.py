"""Bars of how many dev examples turn right, and wrong, from one row to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes

from minbert.experiments.analysis.analysis import Analysis
from minbert.experiments.analysis.flips import Flips
from minbert.reports.picture import Picture
from minbert.reports.plotting import INK, OURS, THEIRS, WIDTH, drawn
from minbert.tasks.registry import TITLES


def flipped(analysis: Analysis, found: Sequence[Flips]) -> Iterator[Picture]:
    """A task a picture: a line a comparison, in percent of the examples."""
    numbers = {result.row.name: n for n, result in enumerate(analysis.rows, start=1)}
    for task in analysis.experiment.tasks:
        own = [one for one in found if one.task == task]
        if own:
            lines = (
                f"from {numbers[one.before]} {one.before} to {numbers[one.after]} {one.after}: "
                f"{one.right} turn right, {one.wrong} turn wrong of {one.total}"
                for one in own
            )
            yield drawn(
                f"{analysis.experiment.name}-flips-{task}",
                f"{TITLES[task]}: examples that turn right or wrong",
                "; ".join(lines),
                partial(_draw, own=own, numbers=numbers),
                (WIDTH, 0.28 * len(own) + 1.0),
            )


def _draw(axes: Axes, own: Sequence[Flips], numbers: Mapping[str, int]) -> None:
    """Wrong to the left, striped; right to the right, plain; the counts at their ends."""
    places = range(len(own))
    right = [100 * one.right / one.total for one in own]
    wrong = [-100 * one.wrong / one.total for one in own]
    axes.barh(places, right, color=OURS, height=0.7)
    axes.barh(places, wrong, color="none", edgecolor=THEIRS, hatch="////", height=0.7)
    for place, one in enumerate(own):
        axes.annotate(f"{one.right}", (right[place], place), (3, -3), textcoords="offset points")
        axes.annotate(
            f"{one.wrong}", (wrong[place], place), (-3, -3), textcoords="offset points", ha="right"
        )
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(places, [f"{numbers[one.before]} → {numbers[one.after]}" for one in own])
    axes.set_ylim(len(own) - 0.5, -0.5)
    axes.margins(x=0.2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.set_xlabel("% of examples")
    axes.set_title("← turn wrong", loc="left", fontsize=9)
    axes.set_title("turn right →", loc="right", fontsize=9)
    axes.spines["left"].set_visible(False)
