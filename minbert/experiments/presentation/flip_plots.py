"""Bars of how many dev examples turn right, and wrong, from one row to another."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes

from minbert.experiments.analysis.analysis import Analysis
from minbert.experiments.analysis.flips import Flips
from minbert.experiments.presentation.score_plots import task_picture
from minbert.reports.picture import Picture
from minbert.reports.plotting import INK, OURS, THEIRS


def flipped(analysis: Analysis, flips: Sequence[Flips]) -> Iterator[Picture]:
    """A picture for each task: a line for each comparison, in percent of the examples."""
    numbers = {result.row.name: n for n, result in enumerate(analysis.rows, start=1)}
    for task in analysis.experiment.tasks:
        pairs = [pair for pair in flips if pair.task == task]
        if pairs:
            words = "; ".join(
                f"from {numbers[pair.before]} {pair.before} to {numbers[pair.after]} {pair.after}: "
                f"{pair.right} turn right, {pair.wrong} turn wrong of {pair.total}"
                for pair in pairs
            )
            draw = partial(_draw, pairs=pairs, numbers=numbers)
            title, height = "examples that turn right or wrong", 0.28 * len(pairs) + 1.0
            yield task_picture(analysis, task, "flips", title, words, draw, height)


def _draw(axes: Axes, pairs: Sequence[Flips], numbers: Mapping[str, int]) -> None:
    """Wrong to the left, striped; right to the right, plain; the counts at their ends."""
    places = range(len(pairs))
    right = [100 * pair.right / pair.total for pair in pairs]
    wrong = [-100 * pair.wrong / pair.total for pair in pairs]
    axes.barh(places, right, color=OURS, height=0.7)
    axes.barh(places, wrong, color="none", edgecolor=THEIRS, hatch="////", height=0.7)
    for place, pair in enumerate(pairs):
        axes.annotate(f"{pair.right}", (right[place], place), (3, -3), textcoords="offset points")
        axes.annotate(
            f"{pair.wrong}", (wrong[place], place), (-3, -3), textcoords="offset points", ha="right"
        )
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(places, [f"{numbers[pair.before]} → {numbers[pair.after]}" for pair in pairs])
    axes.set(ylim=(len(pairs) - 0.5, -0.5), xlabel="% of examples")
    axes.margins(x=0.2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.set_title("← turn wrong", loc="left", fontsize=9)
    axes.set_title("turn right →", loc="right", fontsize=9)
    axes.spines["left"].set_visible(False)
