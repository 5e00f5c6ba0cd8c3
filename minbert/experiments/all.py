"""Every published table, `python -m minbert.experiments all`: what `./run_experiments.sh` calls.

The poster's two tables and the R3F paper's table of costs, in one report.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from minbert.experiments.cost.section import TITLE, CostPart
from minbert.experiments.grid.config import parse
from minbert.experiments.tables import table1, table2
from minbert.experiments.tables.command import Grid, write_report
from minbert.experiments.tables.table2 import Table2Config
from minbert.reports.report import Section
from minbert.support.command import run_command
from minbert.support.console import log
from minbert.support.errors import InputError, RunError

_DESCRIPTION = """\
Run the poster's two tables and measure what each method costs, and write one report of all three.
Flags of the main job follow after --. Typical:

  python -m minbert.experiments all --scale smoke --workers 2
"""


def main(argv: Sequence[str]) -> int:
    """Run all three parts; returns the exit code."""
    return run_command(lambda _stop: _run(argv), if_stopped="the same command goes on with it")


def _run(argv: Sequence[str]) -> None:
    config, extra = parse("all", _DESCRIPTION, argv, Table2Config)
    if config.rows:
        raise InputError("--rows would name rows of one table: give it to table1 or table2")
    # everything is planned before anything is run, so that wrong flags are found at once
    experiments = (table1.experiment(), table2.experiment(config.settings))
    grids = [Grid.planned(experiment, config, extra) for experiment in experiments]
    out = Path(config.out)
    cost = CostPart.planned(config.scale, extra, out)
    parts = [(grid.experiment.title, grid.run) for grid in grids]
    sections = [_section(title, run) for title, run in (*parts, (TITLE, cost.run))]
    names = "\n".join([*(grid.name for grid in grids), cost.name])
    name = f"report-{config.scale}-{hashlib.sha256(names.encode()).hexdigest()[:6]}"
    write_report(out, name, "Published tables, run again", sections)
    for grid in grids:
        grid.log_failures()
    if missing := sum(len(section.missing) for section in sections):
        raise RunError(f"{missing} results are missing; the same command tries them again")


def _section(title: str, run: Callable[[], Section]) -> Section:
    """The part's section, or one that says why there is none, so that the other parts are made."""
    try:
        return run()
    except (InputError, RunError) as error:
        log.error("failed: %s: %s", title, error)
        return Section(title, missing=[str(error)])
