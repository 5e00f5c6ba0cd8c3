"""What the commands that run a grid have in common: flags, planning, running, the tables."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from minbert.command import run_command
from minbert.experiments import grid_report
from minbert.experiments.analysis import analyse
from minbert.experiments.cells import Cell, plan
from minbert.experiments.cluster import CLUSTERS, cluster_launch
from minbert.experiments.grid import SCALES, Experiment
from minbert.experiments.runner import Launch, Runner
from minbert.flags import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    IdleRule,
    OneLineParser,
    add_flags,
    check_values,
    flag,
    refuse_idle,
)
from minbert.runtime import RunError, log

GRID, WHERE = "the experiment", "where it runs"


@dataclass(frozen=True)
class GridConfig:
    """How much of an experiment is run, and where."""

    scale: str = flag(
        "smoke",
        GRID,
        "smoke: minutes, to see that all works; small: hours; full: as published",
        choices=tuple(SCALES),
    )
    seeds: int | None = flag(
        None,
        GRID,
        f"runs of every row; default: {', '.join(f'{n} {s.seeds}' for n, s in SCALES.items())}",
        limit=AT_LEAST_ONE,
        metavar="N",
    )
    rows: tuple[str, ...] = flag(
        (), GRID, "only these rows, by name; default: all", metavar="NAME", several=True
    )
    out: str = flag(
        "runs/experiments",
        WHERE,
        "folder of the runs and tables. The same command goes on where it was; several machines "
        "that share the folder share the work",
        metavar="FOLDER",
    )
    workers: int = flag(
        1,
        WHERE,
        "runs at a time on this machine, which share its cores (seconds are then longer)",
        limit=AT_LEAST_ONE,
        metavar="N",
    )

    cluster: str | None = flag(
        None,
        WHERE,
        "every run as a job of its own, through submitit (pip install submitit): slurm; local, "
        "jobs on this machine, to try it. --workers is then the number of jobs at a time",
        choices=CLUSTERS,
    )
    minutes: int = flag(
        60,
        WHERE,
        "time limit of a job; one that reaches it goes on in another job",
        limit=AT_LEAST_ONE,
        metavar="MINUTES",
    )
    partition: str | None = flag(None, WHERE, "Slurm's partition", metavar="NAME")
    gpus: int = flag(0, WHERE, "GPUs of a job", limit=NOT_NEGATIVE, metavar="N")

    def __post_init__(self) -> None:
        check_values(self)

    @staticmethod
    def add_short_flags(group: Any) -> None:
        """Other spellings of a field's values, in argparse's `group`; none here."""


_RULES = (
    IdleRule(("minutes", "gpus"), lambda config: config.cluster is not None, "--cluster"),
    IdleRule(("partition",), lambda config: config.cluster == "slurm", "--cluster slurm"),
)
C = TypeVar("C", bound=GridConfig)


def grid_command(
    name: str,
    description: str,
    argv: Sequence[str],
    kind: type[C],
    make: Callable[[C], Experiment],
) -> int:
    """Run a grid to its tables; returns the exit code. Flags after -- are the main job's."""
    own, extra = _split(argv)

    def work(_stop: object) -> None:
        given = vars(make_parser(name, description, kind).parse_args(own))
        config = kind(**given)
        refuse_idle(config, given, _RULES)
        run(make(config), config, extra)

    return run_command(work, if_stopped="the same command goes on with it")


def make_parser(name: str, description: str, kind: type[GridConfig]) -> OneLineParser:
    """One flag a field of `kind`; only flags that were typed are stored."""
    parser = OneLineParser(
        prog=f"python -m minbert.experiments {name}",
        usage="%(prog)s [flags] [-- flags of multitask_classifier.py for every row]",
        description=description,
    )
    kind.add_short_flags(add_flags(parser, kind)[GRID])
    return parser


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    words = list(argv)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def run(experiment: Experiment, config: GridConfig, extra: Sequence[str]) -> None:
    """Plan, run, analyse, write and print. Raises RunError where a run failed, after the tables."""
    if config.rows:
        experiment = experiment.only(config.rows)
    scale = SCALES[config.scale]
    cells = plan(experiment, scale, config.seeds or scale.seeds, extra)
    out = Path(config.out)
    runs = len({cell.key for cell in cells})
    log.info("%s: %d rows, %d runs, in %s/cells", experiment.title, len(experiment.rows), runs, out)
    runner = Runner(cells, out, config.workers, _launch(config, out))
    runner.run(experiment.name)
    name = f"{experiment.name}-{config.scale}-{_digest(cells)}"
    print(grid_report.write(analyse(experiment, cells, out), cells, out, name))
    log.info("written: %s.md, .csv and .tex", out / name)
    _raise_failures(cells, runner.failed, out)


def _digest(cells: Sequence[Cell]) -> str:
    """Six hex digits over the commands: other rows, seeds or flags are other tables."""
    text = "\n".join(sorted(cell.command for cell in cells))
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _launch(config: GridConfig, out: Path) -> Launch | None:
    if config.cluster is None:
        return None
    return cluster_launch(
        config.cluster,
        out / "submitit",
        minutes=config.minutes,
        partition=config.partition,
        gpus=config.gpus,
    )


def _raise_failures(cells: Sequence[Cell], failed: Mapping[str, str], out: Path) -> None:
    for cell in cells:
        if cell.key in failed:
            place = cell.folder(out) / "log.txt"
            log.error("failed: %s: %s (%s)", cell.name, failed[cell.key], place)
    if failed:
        raise RunError(f"{len(failed)} runs failed; the same command tries them again")
