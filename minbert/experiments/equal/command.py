"""`python -m minbert.experiments equal`: does a method help where all spend the same compute?

The design and the analysis are those of docs/equal-compute.md.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from minbert.experiments.equal.budget import Spending
from minbert.experiments.equal.config import EqualConfig
from minbert.experiments.equal.design import Design, choose, points
from minbert.experiments.equal.measured import Runs
from minbert.experiments.equal.outcome import Outcome, gather
from minbert.experiments.equal.tables import as_csv, result_tables
from minbert.experiments.equal.verdict import verdict
from minbert.experiments.grid.cells import Cell
from minbert.experiments.grid.config import parse
from minbert.experiments.grid.gaps import Gap
from minbert.experiments.presentation.tables import command_table
from minbert.reports import report
from minbert.reports.report import Plots, Section
from minbert.reports.tables import shown
from minbert.support import durable_files
from minbert.support.command import run_command, show
from minbert.support.console import log
from minbert.support.errors import RunError

TITLE = "Methods at equal compute"
_DESCRIPTION = """\
Tune standard fine-tuning, FreeLB, R-Drop, R3F's noise, SMART's Bregman term and SMART on little
data of two tasks, then compare them on fresh draws of rows, each run with as many steps as the same
forward units pay for. docs/equal-compute.md has the design. Flags of the main job follow after --.
Typical:

  python -m minbert.experiments equal --scale full --out runs/equal -- --weights NAME --pooling mean
"""


def main(argv: Sequence[str]) -> int:
    """Run both stages and report; returns the exit code."""
    return run_command(lambda _stop: _run(argv), if_stopped="the same command goes on with it")


def _run(argv: Sequence[str]) -> None:
    config, extra = parse("equal", _DESCRIPTION, argv, EqualConfig)
    design = Design.of(config, extra)
    for arm, spent in design.spent.items():
        log.info("%s: %s", arm, _said(spent))
    runs = Runs(Path(config.out), Path(config.known) if config.known else None)
    every, tuning = design.tuning()
    if missing := _finish(config, "tuning", tuning, runs):
        raise RunError(f"{missing[0]}: tuning has to be whole; the same command tries it again")
    reached = points(every, tuning, runs.found)
    chosen = choose(config.arms, every, reached)
    for tuned in chosen.values():
        log.info("tuned: %s, %.4f points on dev", tuned.name, reached[tuned.name])
    cells = design.comparison(chosen)
    missing = _finish(config, "comparison", cells, runs)
    _write(gather(design, every, reached, chosen, tuning, cells, runs.found, missing))


def _said(spent: Spending) -> str:
    return (
        f"{spent.units_a_step:.2f} forward units a step, {spent.steps:,} steps, "
        f"{spent.unit_epochs:.2f} unit-epochs"
    )


def _finish(config: EqualConfig, stage: str, cells: Sequence[Cell], runs: Runs) -> list[Gap]:
    """Bring a stage's cells to their results, as far as it goes; log and return what is missing."""
    log.info("%s: %d runs, in %s/cells", stage, len(cells), config.out)
    still = runs.open(cells)
    if config.known:
        log.info("%s: %d of its runs are in %s", stage, len(cells) - len(still), config.known)
    runner = config.runner(still, ended=lambda: runs.look(cells))
    if still:
        runner.run(stage)
    for cell in cells:
        if cell.key in runner.failed:
            place = cell.folder(Path(config.out)) / "log.txt"
            log.error("failed: %s: %s (%s)", cell.name, runner.failed[cell.key], place)
    return runs.look(cells)


def _write(outcome: Outcome) -> None:
    """Write and print the report. Raises RunError, afterwards, where runs are missing."""
    # imported late: --help need not wait for matplotlib
    from minbert.experiments.equal.plot import score_pictures

    out, name = Path(outcome.design.config.out), _name(outcome)
    made_with = sorted({run.made_with for run in outcome.results.values()} - {""})
    facts, tables = [verdict(outcome), *made_with], result_tables(outcome)
    commands = command_table(outcome.cells)
    text = "\n".join([f"{fact}\n" for fact in facts] + [t.markdown() for t in (*tables, commands)])
    texts = {out / f"{name}.md": text, out / f"{name}.csv": as_csv(outcome)}
    durable_files.write_texts(texts)
    show("\n".join([*(f"{fact}\n" for fact in facts), shown([*tables, commands])]))
    words = "Dots are means over the draws, lines their 95% intervals, small dots the draws."
    opening, *others = score_pictures(outcome)
    plots = [Plots("Score against units", words, others)] if others else []
    missing = [str(gap) for gap in outcome.missing]
    section = Section(
        TITLE,
        facts[:1],
        opening,
        facts[1:],
        missing=missing,
        tables=tables,
        plots=plots,
        commands=commands,
    )
    show(f"report: {report.write(out, name, TITLE, [section])}")
    if missing:
        raise RunError(f"{len(missing)} runs failed; the same command tries them again")


def _name(outcome: Outcome) -> str:
    """The name of the report's files: other runs make another name."""
    commands = "\n".join(sorted(cell.command for cell in outcome.cells))
    digest = hashlib.sha256(commands.encode()).hexdigest()[:6]
    return f"equal-{outcome.design.config.scale}-{digest}"
