"""Learning curves of a run: every value of its log by step, and the dev scores by epoch."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from minbert.reports.picture import Picture
from minbert.reports.plotting import HUES, INK, WIDTH, annotate, drawn
from minbert.tasks.task import Array

Points = list[tuple[int, float]]  # (step, value)
_BINS = 60  # of a curve: the page does not grow with the run
_WIDE = 50.0  # values this many times apart are shown on a logarithmic axis
_SIZE = (WIDTH, 2.6)
_MARGINS = {"left": 0.15, "bottom": 0.18, "top": 0.94}
_LETTERS = 16  # of a task's title at the end of its line
_NO_CURVES = ("step", "task", "tokens", "tokens_per_s", "lr")
_TITLES = {
    "loss": "loss with all terms",
    "task_loss": "loss of the task alone",
    "grad_norm": "norm of the gradient",
}


def by_step(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> Iterator[Picture]:
    """A picture for each value of the log, with a line a task, then one of the learning rate.

    `titles` name the tasks.
    """
    for name, by_task in _values(rows).items():
        title = _TITLES.get(name, f"{name}, before its weight")
        curves = {titles.get(task, task): points for task, points in by_task.items()}
        yield _picture(name.replace("_", "-"), title, curves)
    rates = {"": [(row["step"], row["lr"]) for row in rows]}
    if len({rate for _, rate in rates[""]}) > 1:
        yield _picture("lr", "learning rate", rates)


def _values(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Points]]:
    """Points by value and task. The whole loss is left out where it is the task's alone."""
    found: dict[str, dict[str, Points]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for name, value in row.items():
            if name not in _NO_CURVES:
                found[name][row["task"]].append((row["step"], value))
    if found["loss"] == found["task_loss"]:
        del found["task_loss"]
    return found


def _binned(points: Points) -> tuple[Array, Array]:
    """Mean steps, and the (lowest, mean, highest) of the values there, of at most 60 stretches."""
    steps, values = np.array(points).T
    parts = np.array_split(np.arange(len(points)), min(_BINS, len(points)))
    around = [(values[part].min(), values[part].mean(), values[part].max()) for part in parts]
    return np.array([steps[part].mean() for part in parts]), np.array(around).T


def _picture(name: str, title: str, curves: Mapping[str, Points]) -> Picture:
    binned = {task: _binned(points) for task, points in curves.items()}
    said = (
        f"{task}{': ' if task else ''}{means[0]:.4g} at first, {means[-1]:.4g} at last"
        for task, (_, (_, means, _)) in binned.items()
    )
    draw = partial(_draw, binned=binned)
    return drawn(f"run-{name}", title, "; ".join(said), draw, _SIZE, _margins(binned))


def _margins(titles: Iterable[str]) -> dict[str, float]:
    """The axes' place, with room on the right for the longest of several titles."""
    return {**_MARGINS, "right": 0.96 - 0.02 * max(map(len, _beside(titles).values()))}


def _beside(titles: Iterable[str]) -> dict[str, str]:
    """What stands at the end of each line: nothing where it would be the only one."""
    each = list(titles)
    if len(each) < 2:
        return dict.fromkeys(each, "")
    return {t: t if len(t) <= _LETTERS else f"{t[: _LETTERS - 1]}…" for t in each}


def _draw(axes: Axes, binned: Mapping[str, tuple[Array, Array]]) -> None:
    lows, highs = [], []
    end, names = max(steps[-1] for steps, _ in binned.values()), _beside(binned)
    for hue, (task, (steps, (low, mean, high))) in zip(_hues(), binned.items(), strict=False):
        axes.fill_between(steps, low, high, color=hue, alpha=0.15, linewidth=0)
        axes.plot(steps, mean, color=hue, marker="." if len(steps) < 3 else "")
        annotate(axes, names[task], (end, mean[-1]), "beside", color=hue)
        lows.append(low.min())
        highs.append(high.max())
    if min(lows) > 0 and max(highs) > _WIDE * min(lows):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set(xlabel="step")
    axes.grid()


def _hues() -> Iterator[str]:
    while True:
        yield from HUES


def by_epoch(epochs: Sequence[Mapping[str, Any]], best: int, titles: Mapping[str, str]) -> Picture:
    """Dev scores after each epoch, a line a task, with the `best` epoch marked."""
    scores = {titles[name]: [row["scores"][name] for row in epochs] for name in epochs[0]["scores"]}
    said = (f"{task} {', '.join(f'{s:.3f}' for s in own)}" for task, own in scores.items())
    words = f"After each epoch: {'; '.join(said)}. The best is epoch {best}."
    draw = partial(_draw_epochs, scores=scores, best=best)
    return drawn("run-dev", "dev scores by epoch", words, draw, _SIZE, _margins(scores))


def _draw_epochs(axes: Axes, scores: Mapping[str, Sequence[float]], best: int) -> None:
    names = _beside(scores)
    for hue, (task, own) in zip(_hues(), scores.items(), strict=False):
        axes.plot(range(1, len(own) + 1), own, color=hue, marker=".")
        annotate(axes, names[task], (len(own), own[-1]), "beside", color=hue)
    axes.axvline(best, color=INK, linestyle=":", linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch (dotted: the best)")
    axes.grid()
