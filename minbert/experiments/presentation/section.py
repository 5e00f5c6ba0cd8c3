"""An analysed grid as a section of a report: its tables, its plots, its commands."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from minbert.experiments.analysis import flips
from minbert.experiments.analysis.analysis import Analysis
from minbert.experiments.analysis.flips import Flip, Flips
from minbert.experiments.grid.cells import Cell
from minbert.experiments.grid.made_with import made_with
from minbert.experiments.presentation import flip_plots, opening, prediction_plots, score_plots
from minbert.experiments.presentation.tables import command_table, result_tables
from minbert.reports.picture import Picture
from minbert.reports.predictions import CONFUSION_WORDS, VALUES_WORDS
from minbert.reports.report import Plots, Section
from minbert.reports.tables import Table
from minbert.tasks.registry import TASKS, TITLES

_PLOTS: Sequence[tuple[str, str, Callable[[Analysis], Iterator[Picture]]]] = (
    (
        "Score against cost",
        "Dots are means over the seeds, lines their 95% intervals.{theirs}{elsewhere}",
        score_plots.against_cost,
    ),
    (
        "Every seed",
        "A dot a seed; the upright stroke is the mean, the band its 95% interval.{theirs}",
        score_plots.over_seeds,
    ),
    (
        "Learning curves",
        "Dev score after each epoch: thick the mean, thin every seed.",
        score_plots.by_epoch,
    ),
    (
        "Which classes are taken for which",
        f"Counts over all seeds. {CONFUSION_WORDS}",
        prediction_plots.confusions,
    ),
    (
        "Predicted and true values",
        f"The fuller a hexagon, the more examples of all seeds lie there. {VALUES_WORDS}",
        prediction_plots.values,
    ),
)


def section(analysis: Analysis, cells: Sequence[Cell], facts: Sequence[str] = ()) -> Section:
    """The section with everything there is to show; plots only where a row has results."""
    done = any(result.cells for result in analysis.rows)
    return Section(
        title=analysis.experiment.title,
        headline=opening.headline(analysis),
        opening=opening.picture(analysis) if done and analysis.experiment.tasks else None,
        facts=[*facts, *_machines(analysis)],
        missing=[str(gap) for gap in analysis.gaps],
        tables=result_tables(analysis),
        rows=[result.row.name for result in analysis.rows],
        plots=[plots for plots in _plots(analysis) if plots.pictures] if done else [],
        commands=command_table(cells),
    )


def _machines(analysis: Analysis) -> list[str]:
    """The weights, machines and versions of all runs, a line for each combination."""
    results = (result for row in analysis.rows for result in row.all_cells())
    return sorted({made_with(result.manifest) for result in results} - {""})


def _plots(analysis: Analysis) -> Iterator[Plots]:
    source = analysis.experiment.source
    theirs = f" Open diamonds are {source} figures." if source else ""
    elsewhere = " Their seconds are another machine's." if source else ""
    for title, words, pictures in _PLOTS:
        words = words.format(theirs=theirs, elsewhere=elsewhere)
        yield Plots(title, words, list(pictures(analysis)))
    yield _flip_plots(analysis)


def _flip_plots(analysis: Analysis) -> Plots:
    found = flips.find(analysis)
    pairs = groupby(found, lambda pair: (pair.before, pair.after))
    tables = [_examples(rows, list(tasks)) for rows, tasks in pairs]
    return Plots(
        "Which examples flip",
        "From one row to another, examples that turn right, plain, and wrong, striped, all seeds "
        "together. On a scale an answer turns right where it comes nearer to the label by a point "
        "or more, and wrong where it moves away by as much.",
        list(flip_plots.flipped(analysis, found)),
        [table for table in tables if table.rows],
    )


def _examples(pair: tuple[str, str], by_task: Sequence[Flips]) -> Table:
    """The clearest flips from one row to another, on every task."""
    rows = [
        _line(of_task.task, turned, flip)
        for of_task in by_task
        for turned, flipped in (("right", of_task.gained), ("wrong", of_task.lost))
        for flip in flipped
    ]
    header = ["task", "turned", "label", "before", "after", "id", "text"]
    notes = ["answers are means over the seeds"]
    return Table(f"Examples: from {pair[0]} to {pair[1]}", header, rows, notes)


def _line(task: str, turned: str, flip: Flip) -> list[str]:
    digits = "g" if TASKS[task].classes else ".2f"
    answers = [f"{value:{digits}}" for value in (flip.label, flip.before, flip.after)]
    return [TITLES[task], turned, *answers, flip.id, flip.text or "–"]
