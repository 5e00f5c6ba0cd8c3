"""The way from a grid command's flags to its report: plan, run, analyse, write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from minbert.experiments.analysis.analysis import analyse
from minbert.experiments.grid.cells import Cell, plan
from minbert.experiments.grid.config import GridConfig, SomeGridConfig, parse
from minbert.experiments.grid.experiment import Experiment
from minbert.experiments.grid.unnamed import unnamed
from minbert.experiments.presentation import tables
from minbert.reports import report
from minbert.reports.report import Section
from minbert.reports.tables import shown
from minbert.support.command import run_command, show
from minbert.support.console import log
from minbert.support.errors import RunError


def grid_command(
    name: str,
    description: str,
    kind: type[SomeGridConfig],
    make: Callable[[SomeGridConfig, Sequence[str]], Experiment],
    argv: Sequence[str],
) -> int:
    """Run the grid that `make` describes, and report; returns the exit code.

    `make` is given the flags before --, as a configuration, and the main job's, after it.
    """

    def work(_stop: object) -> None:
        config, extra = parse(name, description, argv, kind)
        grid = Grid.planned(make(config, extra), config, extra)
        section = grid.run()
        write_report(grid.out, grid.name, grid.experiment.title, [section])
        grid.log_failures()
        if grid.failed:
            raise RunError(f"{len(grid.failed)} runs failed; the same command tries them again")

    return run_command(work, if_stopped="the same command goes on with it")


@dataclass
class Grid:
    """An experiment that is run: its cells, and, once it ran, why some of them failed, by key."""

    experiment: Experiment
    config: GridConfig
    cells: Sequence[Cell]
    failed: Mapping[str, str] = field(default_factory=dict, init=False)

    @classmethod
    def planned(cls, experiment: Experiment, config: GridConfig, extra: Sequence[str]) -> Grid:
        """Plan the cells. Raises InputError where a row's flags, or those in `extra`, are wrong."""
        if config.rows:
            experiment = experiment.only(config.rows)
        scale = config.how_much
        cells = plan(experiment, scale, scale.seeds, extra)
        config.demands.check(cells)
        notes = unnamed(cells)
        for note in notes:
            log.warning("%s: %s", experiment.title, note)
        experiment = replace(experiment, notes=(*experiment.notes, *notes))
        return cls(experiment, config, cells)

    @property
    def out(self) -> Path:
        """The folder of the runs and tables."""
        return Path(self.config.out)

    @property
    def name(self) -> str:
        """The name of the tables' files: other rows, seeds or flags make another name."""
        commands = "\n".join(sorted(cell.command for cell in self.cells))
        digest = hashlib.sha256(commands.encode()).hexdigest()[:6]
        return f"{self.experiment.name}-{self.config.scale}-{digest}"

    def run(self) -> Section:
        """Run what is not done yet, analyse, write and print the tables.

        Raises RunError for a damaged result. Runs that fail are in `failed` afterwards.
        """
        runs = len({cell.key for cell in self.cells})
        rows = len(self.experiment.rows)
        log.info("%s: %d rows, %d runs, in %s/cells", self.experiment.title, rows, runs, self.out)
        runner = self.config.runner(self.cells)
        runner.run(self.experiment.name)
        self.failed = runner.failed
        analysis = analyse(self.experiment, self.cells, self.out)
        tables.write(analysis, self.cells, self.out, self.name)
        show(shown(tables.all_tables(analysis, self.cells)))
        log.info("written: %s.md, .csv and .tex", self.out / self.name)
        # imported late: --help need not wait for matplotlib
        from minbert.experiments.presentation import section

        return section.section(analysis, self.cells, [self._scale()])

    def _scale(self) -> str:
        seeds = len({cell.seed for cell in self.cells})
        what = self.config.how_much
        rows = f"{what.limit:,} drawn rows of every file" if what.limit else "all rows"
        commands = [command for row in self.experiment.rows for command in row.commands]
        named = any("--epochs" in command for command in commands)
        epochs = "as the rows say" if named else what.epochs
        return f"scale {self.config.scale}: epochs: {epochs}, {rows}; seeds: {seeds}"

    def log_failures(self) -> None:
        """A line for each run that failed: why, and where its log is."""
        for cell in self.cells:
            if cell.key in self.failed:
                place = cell.folder(self.out) / "log.txt"
                log.error("failed: %s: %s (%s)", cell.name, self.failed[cell.key], place)


def write_report(out: Path, name: str, title: str, sections: Sequence[Section]) -> None:
    """Write one page with all sections, and print its path as the last line."""
    show(f"report: {report.write(out, name, title, sections)}")
