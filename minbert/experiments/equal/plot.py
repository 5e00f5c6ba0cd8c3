"""The plots: each arm's score against the forward units of a step, with every draw."""

from collections.abc import Iterator, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter

from minbert.experiments.equal.budget import TASK_NAMES
from minbert.experiments.equal.outcome import Outcome
from minbert.reports.picture import Picture
from minbert.reports.plotting import HUES, WIDTH, drawn
from minbert.statistics.intervals import over_seeds
from minbert.tasks.registry import TASKS, TITLES

_APART = 0.35  # units between arms whose steps cost the same


def score_pictures(outcome: Outcome) -> Iterator[Picture]:
    """A picture for each task."""
    for task in TASK_NAMES:
        draw = partial(_draw, outcome=outcome, task=task)
        title = f"{TITLES[task]}: score against units"
        words = "; ".join(_in_words(outcome, arm, task) for arm in outcome.chosen)
        yield drawn(f"equal-units-{task}", title, words, draw, (WIDTH, 3.1))


def _in_words(outcome: Outcome, arm: str, task: str) -> str:
    over, spent = over_seeds(outcome.scores[arm][task]), outcome.spent[arm]
    low, high = over.interval
    units = f"{spent.units_a_step:.2f} units a step, {spent.unit_epochs:.2f} unit-epochs"
    return f"{arm}: {over.mean:.4f} [{low:.4f}, {high:.4f}], {units}"


def _draw(axes: Axes, outcome: Outcome, task: str) -> None:
    places = _places([spent.units_a_step for spent in outcome.spent.values()])
    for number, (arm, place) in enumerate(zip(outcome.chosen, places, strict=True)):
        scores = outcome.scores[arm][task]
        over, color = over_seeds(scores), HUES[number % len(HUES)]
        axes.plot([place] * len(scores), scores, "o", color=color, markersize=3, alpha=0.4)
        axes.plot([place, place], over.interval, color=color, linewidth=2)
        axes.plot(place, over.mean, "o", color=color, markersize=7, label=arm)
    axes.yaxis.set_major_formatter(FormatStrFormatter("%.3f"))
    axes.set(
        xlabel=f"forward units a step; {outcome.design.config.sizes.budget:g} unit-epochs in all",
        ylabel=f"{TITLES[task]} {TASKS[task].metric_name}",
    )
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    axes.grid()


def _places(units: Sequence[float]) -> list[float]:
    """The units, moved a little to the right where a step of an arm before costs the same."""
    return [
        own + _APART * sum(abs(own - before) < _APART for before in units[:place])
        for place, own in enumerate(units)
    ]
