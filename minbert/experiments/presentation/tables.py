"""An analysed grid as tables: scores beside the published ones, differences, and commands."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minbert.experiments.analysis.analysis import Analysis, scored
from minbert.experiments.analysis.differences import Detectable
from minbert.experiments.grid.cells import Cell
from minbert.experiments.grid.experiment import SECONDS
from minbert.experiments.grid.results import RowResult
from minbert.reports.tables import Table, csv_text
from minbert.support import durable_files
from minbert.tasks.metrics import DEGENERATE
from minbert.tasks.registry import TASKS, TITLES

_NOTHING, _UNTRAINED = "–", "†"
_SECONDS_OF = "training alone, without scoring or a frozen encoder's one pass over the texts"
_NAMED = 5  # missing runs that a note lists


def score_table(analysis: Analysis) -> Table:
    """A line for each row: every task's score and interval, seconds an epoch, published figures."""
    experiment = analysis.experiment
    published = {task for result in analysis.rows for task in result.row.published}
    shown = [task for task in (*experiment.tasks, SECONDS) if task in published]
    header = [
        "dev",
        "seeds",
        *(f"{TITLES[task]} {TASKS[task].metric_name}" for task in experiment.tasks),
        SECONDS,
        *(f"{experiment.source} {TITLES.get(task, task)}" for task in shown),
    ]
    rows = [
        [
            result.row.name,
            str(len(result.cells)),
            *(_score(result, task) for task in experiment.tasks),
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
    tasks = analysis.experiment.tasks
    counts = {len(result.cells) for result in analysis.rows if result.cells}
    notes = [*_incomplete(analysis), *_degenerate(analysis), *analysis.experiment.notes]
    if counts - {1}:
        notes.append("mean ± standard deviation over seeds [95% interval of the mean, Student's t]")
    if 1 in counts:
        notes.append(
            "one seed: [95% interval over dev examples, Wilson's for accuracy, Fisher's z for r]; "
            "what another seed would give is not in it"
        )
    if any(not result.trains(task) for result in analysis.rows for task in tasks):
        notes.append(f"{_UNTRAINED}: untrained, no batch of the row is of this task")
    notes += [_on_epochs(analysis), *map(_smallest, analysis.detectable), *analysis.left_out]
    return [note for note in notes if note]


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
        f"{TITLES[found.task]}: two rows must differ by {found.value:.3f} to be told apart (80% "
        f"power at the 5% level over {found.tests} comparisons; seeds: {found.seeds}, dev "
        f"examples: {found.examples:,}, correlation of two rows {found.correlation:.2f}, {noise})"
    )


def difference_table(analysis: Analysis) -> Table:
    """A line for each comparison and task: difference, interval, p-values."""
    rows = [
        [
            f"{pair.first} − {pair.second}",
            TITLES[pair.task],
            str(pair.seeds),
            f"{pair.value:+.3f}",
            f"[{pair.interval.low:+.3f}, {pair.interval.high:+.3f}]",
            pair.test,
            _p(pair.p_models),
            _p(pair.p_value) if pair.seeds > 1 else _NOTHING,
            _p(pair.corrected),
            pair.verdict,
        ]
        for pair in analysis.differences
    ]
    header = ["rows", "task", "seeds", "difference", "95% interval", "test of these models"]
    header += ["its p", "p, other seeds too", "p (Holm)", "more than noise"]
    quiet = [at for at, pair in enumerate(analysis.differences) if not pair.is_seen]
    folded = f"{len(quiet)} of {len(rows)} comparisons are not more than noise"
    title, notes = "Which differences are more than noise", _how_tested(analysis)
    return Table(title, header, rows, notes, quiet, folded)


def _p(value: float) -> str:
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
    if any(pair.seeds == 1 for pair in analysis.differences):
        notes.append(
            "with one seed p and interval (bootstrap) are those of these models: whether the "
            "method makes the difference is not known"
        )
    notes.append(
        f"p (Holm) is corrected for the {len(analysis.differences)} comparisons of this table; "
        "tasks that neither row trains are not compared"
    )
    return notes


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
            TASKS[task].metric_name,
            seed,
            score,
            result.result(seed, task).seconds,
            result.row.published.get(task),
        ]
        for result in analysis.rows
        for task in analysis.experiment.tasks
        for seed, score in zip(result.cells, result.scores(task), strict=True)
    )
    return csv_text([header, *rows])


def result_tables(analysis: Analysis) -> list[Table]:
    """Scores, and differences where there are any."""
    differences = [difference_table(analysis)] if analysis.differences else []
    return [score_table(analysis), *differences]


def write(analysis: Analysis, cells: Sequence[Cell], out: Path, name: str) -> str:
    """Write NAME.md, NAME.csv and NAME.tex into `out`; returns the Markdown."""
    tables = result_tables(analysis)
    markdown = "\n".join(table.markdown() for table in (*tables, command_table(cells)))
    latex = "\n".join(table.latex() for table in tables)
    texts = {"md": markdown, "csv": as_csv(analysis), "tex": latex}
    durable_files.write_texts({out / f"{name}.{kind}": text for kind, text in texts.items()})
    return markdown
