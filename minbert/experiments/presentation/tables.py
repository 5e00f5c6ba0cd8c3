"""An analysed grid as tables: scores beside the published ones, differences, and commands."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minbert.experiments.analysis import scoring
from minbert.experiments.analysis.analysis import Analysis, scored
from minbert.experiments.analysis.differences import Detectable
from minbert.experiments.grid.cells import Cell
from minbert.experiments.grid.columns import Column, title_of
from minbert.experiments.grid.experiment import SECONDS
from minbert.experiments.grid.results import RowResult
from minbert.reports.tables import Table, csv_text
from minbert.support import durable_files
from minbert.tasks.metrics import DEGENERATE

_NOTHING, _UNTRAINED = "–", "†"
_SECONDS_OF = "training alone, without scoring or a frozen encoder's one pass over the texts"
_NAMED = 5  # missing runs that a note lists


def score_table(analysis: Analysis) -> Table:
    """A line for each row: every task's score and interval, seconds an epoch, published figures."""
    experiment = analysis.experiment
    published = {task for result in analysis.rows for task in result.row.published}
    shown = [task for task in (*experiment.columns, SECONDS) if task in published]
    header = [
        "dev",
        "seeds",
        *(Column.read(task).heading for task in experiment.columns),
        SECONDS,
        *(f"{experiment.source} {title_of(task)}" for task in shown),
    ]
    rows = [
        [
            result.row.name,
            str(len(result.cells)),
            *(_score(result, task) for task in experiment.columns),
            f"{np.mean(result.seconds()):.1f}" if result.cells else _NOTHING,
            *(_figure(result.row.published.get(task), task) for task in shown),
        ]
        for result in analysis.rows
    ]
    return Table(experiment.title, header, rows, _notes(analysis))


def _score(result: RowResult, task: str) -> str:
    if not result.cells:
        return _NOTHING
    over, (low, high) = scored(result, task)
    spread = "" if math.isnan(over.sd) else f" ± {over.sd:.3f}"
    remark = "" if result.trains(task) else f" {_UNTRAINED}"
    return f"{over.mean:.3f}{spread} [{low:.3f}, {high:.3f}]{remark}"


def _figure(value: float | None, task: str) -> str:
    if value is None:
        return _NOTHING
    return f"{value:,.0f}" if task == SECONDS else f"{value:.3f}"


def _incomplete(analysis: Analysis) -> list[str]:
    """A note that says which runs are missing; [] where none is."""
    if not analysis.gaps:
        return []
    shown = "; ".join(map(str, analysis.gaps[:_NAMED]))
    more = len(analysis.gaps) - _NAMED
    rest = f"; and {more} more" if more > 0 else ""
    return [f"INCOMPLETE: {len(analysis.gaps)} of {analysis.runs} runs are missing: {shown}{rest}"]


def _degenerate(analysis: Analysis) -> list[str]:
    """A note that says which runs have learned nothing; [] where none is."""
    marked = [
        f"{result.row.name}, seed {seed}"
        for result in analysis.rows
        for seed, cells in result.cells.items()
        if any(cell.manifest.get("degenerate") for cell in cells)
    ]
    return [f"{DEGENERATE} ({'; '.join(marked)})"] if marked else []


def _notes(analysis: Analysis) -> list[str]:
    tasks = analysis.experiment.columns
    counts = {len(result.cells) for result in analysis.rows if result.cells}
    notes = [*_incomplete(analysis), *_degenerate(analysis), *analysis.experiment.notes]
    if counts - {1}:
        notes.append("mean ± standard deviation over seeds [95% interval of the mean, Student's t]")
    if 1 in counts:
        notes.append(
            "one seed: [95% interval over dev examples, Wilson's for accuracy, Fisher's z for r"
            f"{_others(tasks)}]; what another seed would give is not in it"
        )
    if any(not result.trains(task) for result in analysis.rows for task in tasks):
        notes.append(f"{_UNTRAINED}: untrained, no batch of the row is of this task")
    notes += [_on_epochs(analysis), *map(_smallest, analysis.detectable), *analysis.left_out]
    return [note for note in notes if note]


def _others(names: Sequence[str]) -> str:
    """What the note on intervals says of scores that are neither accuracy nor r."""
    columns = map(Column.read, names)
    known = all(one.is_accuracy or scoring.is_pearson(one) for one in columns)
    return "" if known else ", bootstrap for others"


def _on_epochs(analysis: Analysis) -> str:
    """A note on what the scores and seconds of several epochs are."""
    runs = [cell for row in analysis.rows for cell in row.all_cells()]
    counts = sorted({len(cell.manifest["epochs"]) for cell in runs})
    if not counts or counts[-1] == 1:
        return f"{SECONDS}: {_SECONDS_OF}"
    several = "–".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    return (
        f"scores are of the best of {several} epochs by the same dev sets, so they are a little "
        f"high; {SECONDS}: the mean of them, {_SECONDS_OF}"
    )


def _smallest(found: Detectable) -> str:
    unknown = found.seed_sd is None
    noise = "noise of the seeds unknown" if unknown else f"sd over seeds {found.seed_sd:.4f}"
    return (
        f"{title_of(found.task)}: two rows must differ by {found.value:.3f} to be told apart (80% "
        f"power at the 5% level over {found.tests} comparisons; seeds: {found.seeds}, dev "
        f"examples: {found.examples:,}, correlation of two rows {found.correlation:.2f}, {noise})"
    )


def difference_table(analysis: Analysis) -> Table:
    """A line for each comparison and task: difference, interval, p-values."""
    rows = [
        [
            f"{pair.first} − {pair.second}",
            title_of(pair.task),
            str(pair.seeds),
            f"{pair.value:+.3f}",
            f"[{pair.interval.low:+.3f}, {pair.interval.high:+.3f}]",
            pair.test,
            _p(pair.p_models),
            _p(pair.p_value if pair.seeds > 1 else math.nan),
            _p(pair.corrected),
            pair.verdict,
            _p(pair.welch),
            _p(pair.welch_corrected),
        ]
        for pair in analysis.differences
    ]
    header = ["rows", "task", "seeds", "difference", "95% interval", "test of these models"]
    header += ["its p", "p, other seeds too", "p (Holm)", "more than noise"]
    header += ["Welch's p", "Welch's p (Holm)"]
    quiet = [at for at, pair in enumerate(analysis.differences) if not pair.is_seen]
    folded = f"{len(quiet)} of {len(rows)} comparisons are not more than noise"
    if len(rows) == 1:
        folded = "The one comparison is not more than noise"
    title, notes = "Which differences are more than noise", _how_tested(analysis)
    return Table(title, header, rows, notes, quiet, folded)


def _p(value: float) -> str:
    if math.isnan(value):
        return _NOTHING
    return f"{value:.4f}" if value >= 5e-5 else "< 0.0001"


def _how_tested(analysis: Analysis) -> list[str]:
    notes = [
        "tests of these models are paired on the same dev examples and take the trained models as "
        "given: a small p says that other examples would show the difference, not that other seeds "
        "would"
    ]
    if any(pair.seeds > 1 for pair in analysis.differences):
        notes.append(
            "a permutation test's p is never below 0.0010; p, other seeds too: Student's t, with "
            "the noise of the examples (bootstrap) and that of the seeds, taken to be the same in "
            "all rows that train the task (those that do not are pooled apart); the interval is "
            "this test's, over the seeds that both rows have"
        )
        notes.append(_on_welch(analysis))
    if any(pair.seeds == 1 for pair in analysis.differences):
        notes.append(
            "with one seed p and interval (bootstrap) are those of these models: whether the "
            "method makes the difference is not known"
        )
    notes.append(
        f"p (Holm) is corrected for all comparisons of this table ({len(analysis.differences)}); "
        "tasks that neither row trains are not compared"
    )
    return notes


def _on_welch(analysis: Analysis) -> str:
    """A note on which of the two tests decides, and on what it takes for granted."""
    alike = analysis.equal_variances.items()
    tested = ", ".join(f"{title_of(task)} p = {_p(p_value)}" for task, p_value in alike)
    return (
        "p (Holm) decides what is more than noise. It rests on rows that scatter alike over their "
        f"seeds (Bartlett's test of that: {tested or 'not known'}). Welch's t-test does not: it "
        "knows the scores of each pair's seeds and nothing else, so with few seeds it finds little"
    )


def command_table(cells: Sequence[Cell]) -> Table:
    """A line for each row: the commands that make it, with its first seed."""
    first = min(cell.seed for cell in cells)
    rows = [
        [cell.row, f"`python multitask_classifier.py {cell.command}`"]
        for cell in cells
        if cell.seed == first
    ]
    seeds = ", ".join(str(seed) for seed in sorted({cell.seed for cell in cells}))
    return Table("Commands", ["row", "command"], rows, [f"with --seed {seeds}"])


def as_csv(analysis: Analysis) -> str:
    """A line for each row, task and seed, with all digits, for programs."""
    header = ["row", "task", "metric", "seed", "score", "seconds_per_epoch", "published"]
    rows = (
        [
            result.row.name,
            task,
            Column.read(task).metric.name,
            seed,
            score,
            result.result(seed, task).seconds,
            result.row.published.get(task),
        ]
        for result in analysis.rows
        for task in analysis.experiment.columns
        for seed, score in zip(result.cells, result.scores(task), strict=True)
    )
    return csv_text([header, *rows])


def over_seeds_table(analysis: Analysis) -> Table:
    """A line for each row of several seeds: mean, median, maximum, and the time to the best epoch.

    Such times are in Figure 1 of the R3F paper (Aghajanyan et al. 2021), medians and maxima in its
    tables. A maximum grows with the number of seeds, so it compares rows of as many seeds only.
    """
    tasks = analysis.experiment.columns
    header = ["over seeds", "seeds"]
    header += [f"{title_of(task)} {what}" for task in tasks for what in ("mean", "median", "best")]
    rows = [
        [
            result.row.name,
            str(len(result.cells)),
            *(f"{of(result.scores(task)):.3f}" for task in tasks for of in _OVER_SEEDS),
            _seconds(np.mean([cell.seconds_to_best for cell in result.all_cells()])),
        ]
        for result in analysis.rows
        if len(result.cells) > 1
    ]
    note = "s to best: seconds of training up to the end of the best epoch, the mean over the runs"
    return Table("Over seeds", [*header, "s to best"], rows, [note])


_OVER_SEEDS = (np.mean, np.median, np.max)


def _seconds(value: float | np.floating[Any]) -> str:
    return _NOTHING if math.isnan(value) else f"{value:,.0f}"


def result_tables(analysis: Analysis) -> list[Table]:
    """Scores, what there is of differences, and medians where rows have several seeds."""
    differences = [difference_table(analysis)] if analysis.differences else []
    several = any(len(result.cells) > 1 for result in analysis.rows)
    return [
        score_table(analysis),
        *differences,
        *([over_seeds_table(analysis)] if several else []),
    ]


def all_tables(analysis: Analysis, cells: Sequence[Cell]) -> list[Table]:
    """Those tables, and the commands."""
    return [*result_tables(analysis), command_table(cells)]


def write(analysis: Analysis, cells: Sequence[Cell], out: Path, name: str) -> str:
    """Write NAME.md, NAME.csv and NAME.tex into `out`; returns the Markdown."""
    markdown = "\n".join(table.markdown() for table in all_tables(analysis, cells))
    latex = "\n".join(table.latex() for table in result_tables(analysis))
    texts = {"md": markdown, "csv": as_csv(analysis), "tex": latex}
    durable_files.write_texts({out / f"{name}.{kind}": text for kind, text in texts.items()})
    return markdown
