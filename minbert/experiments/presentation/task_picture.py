"""A plot of one task of a grid: its file's name, its title and its size."""

from collections.abc import Callable

from matplotlib.axes import Axes

from minbert.experiments.analysis.analysis import Analysis
from minbert.reports.picture import Picture
from minbert.reports.plotting import WIDTH, drawn
from minbert.tasks.registry import TITLES


def task_picture(
    analysis: Analysis,
    task: str,
    kind: str,
    title: str,
    words: str,
    draw: Callable[[Axes], object],
    height: float = 3.1,
) -> Picture:
    """The picture that `draw` makes, `height` inches high; `kind` is a part of its file's name."""
    name = f"{analysis.experiment.name}-{kind}-{task}"
    return drawn(name, f"{TITLES[task]}: {title}", words, draw, (WIDTH, height))
