"""What a run scored, in words, in tables and in pictures."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from minbert.finetune.report.outcome import OnDev, Outcome
from minbert.reports.picture import Picture
from minbert.reports.plotting import OURS, THEIRS, WIDTH, drawn, label
from minbert.reports.predictions import confusion_picture, counts_of, values_picture
from minbert.reports.tables import Table
from minbert.statistics import intervals
from minbert.statistics.intervals import Interval
from minbert.tasks.metrics import ACCURACY, DEGENERATE, PEARSON


def headline(outcome: Outcome) -> list[str]:
    """The result in two or three sentences."""
    found = [(one, one.task.title) for one in outcome.on_dev]
    scored = [f"{title} {one.score:.3f} ({one.task.metric_name})" for one, title in found]
    commonest = [f"{title} {one.of_commonest:.3f}" for one, title in found]
    best, count = outcome.manifest["best_epoch"], len(outcome.epochs)
    steps = {row["epoch"]: row["step"] for row in outcome.epochs}
    is_cut = outcome.config.max_steps == max(steps.values())
    when = "after one epoch" if count == 1 else f"after epoch {best} of {count}, the best one"
    if outcome.config.keep == "last":
        when = f"after the last epoch ({best})"
    if is_cut:  # no epoch was whole, or the last was not
        when = f"after {steps[best]:,} steps"
    lines = [
        f"The dev scores {when}: {_and(scored)}. "
        f"The commonest label alone would reach {_and(commonest)}."
    ]
    if outcome.manifest.get("degenerate"):
        lines.append(f"This run is {DEGENERATE}. Lower --lr, or train longer.")
    elif count > 1 and not is_cut:
        lines.append(_advice(best, count))
    return lines


def _advice(best: int, count: int) -> str:
    if best == count:
        return "The last epoch is the best one: more epochs may score higher."
    return f"No epoch after epoch {best} scored higher, so more of them would hardly help."


def _and(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def interval(one: OnDev) -> Interval | None:
    """The 95% interval over dev examples; None for a score that has none here."""
    metric = one.task.metrics[0]
    if metric == ACCURACY:
        right = int((one.predictions == one.labels).sum())
        return intervals.accuracy_interval(right, len(one.labels))
    if metric == PEARSON:
        return intervals.pearson_interval(one.predictions, one.labels)
    return None


def opening(outcome: Outcome) -> Picture:
    """Each task's dev score with its interval, beside the commonest label's."""
    found = list(outcome.on_dev)
    words = "; ".join(
        f"{one.task.title} {one.score:.3f}{_in_brackets(interval(one))}, commonest label "
        f"{one.of_commonest:.3f}"
        for one in found
    )
    size = (WIDTH, 0.35 * len(found) + 0.8)
    title = "Dev scores: a dot with its 95% interval; the stroke is the commonest label's"
    return drawn("run-scores", title, words, partial(_draw_scores, found=found), size)


def _draw_scores(axes: Axes, found: Sequence[OnDev]) -> None:
    for place, one in enumerate(found):
        if (own := interval(one)) is not None:
            axes.plot(own, [place, place], color=OURS, linewidth=5, alpha=0.3)
        axes.plot(one.score, place, "o", color=OURS)
        axes.plot(one.of_commonest, place, "|", color=THEIRS, markersize=13, markeredgewidth=2)
    axes.set_yticks(range(len(found)), [label(one.task.title) for one in found])
    low = min(0.0, *(one.score for one in found))
    axes.set(ylim=(len(found) - 0.5, -0.5), xlim=(low - 0.02, 1.02))
    axes.grid(axis="x")


def _in_brackets(own: Interval | None) -> str:
    return "" if own is None else f" [{own.low:.3f}, {own.high:.3f}]"


def score_table(outcome: Outcome) -> Table:
    """A line for each score of each dev file."""
    rows = [
        [
            one.task.title if metric == one.task.metric_name and split == "dev" else "",
            metric if split == "dev" else f"{metric} on {split}",
            f"{value:.3f}",
            _in_brackets(interval(one)).strip() if _decides(one, split, metric) else "–",
            f"{outcome.manifest['commonest_label'][one.task.name][split][metric]:.3f}",
            f"{outcome.manifest['labelled'][one.task.name][split]:,}",
            "yes" if one.is_trained else "no",
        ]
        for one in outcome.on_dev
        for split, values in outcome.manifest["metrics"][one.task.name].items()
        for metric, value in values.items()
    ]
    header = ["task", "score", "dev", "95% interval", "commonest label", "dev rows", "trained"]
    notes = ["the interval is over dev examples: another seed may leave it"]
    return Table("Scores", header, rows, notes)


def _decides(one: OnDev, split: str, metric: str) -> bool:
    return split == "dev" and metric == one.task.metric_name


def epoch_table(outcome: Outcome) -> Table:
    """A line for each epoch: scores and seconds."""
    titles = {one.task.name: one.task.title for one in outcome.on_dev}
    best = outcome.manifest["best_epoch"]
    rows = [
        [
            f"{row['epoch']} (best)" if row["epoch"] == best else str(row["epoch"]),
            f"{row['step']:,}",
            *(f"{row['scores'][name]:.3f}" for name in titles),
            f"{row['train_seconds']:.1f}",
            f"{row['dev_seconds']:.1f}",
        ]
        for row in outcome.epochs
    ]
    header = ["epoch", "steps", *titles.values(), "training, s", "scoring, s"]
    return Table("Epochs", header, rows)


def predictions(outcome: Outcome) -> Iterator[Picture]:
    """Of each task, which classes are taken for which, or predicted values over true ones."""
    for one in outcome.on_dev:
        name, title = f"run-predictions-{one.task.name}", one.task.title
        if one.task.top is None:
            counts = counts_of(one.predictions, one.labels, len(one.task.classes))
            about, names = f"{title}: labels and predictions", one.task.classes
            yield confusion_picture(name, about, title, counts, names)
        else:
            each, r = one.predictions[np.newaxis], PEARSON.score(one.predictions, one.labels)
            about = f"{title}: predicted and true"
            yield values_picture(name, about, title, each, one.labels, r)
