"""The flags of the commands that run a grid: how much of it is run, and where."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from minbert.experiments.grid.cells import Cell
from minbert.experiments.grid.cluster import CLUSTERS, Demands, cluster_launch
from minbert.experiments.grid.experiment import SCALES, Scale
from minbert.experiments.grid.runner import Runner
from minbert.support.flags import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    OneLineParser,
    When,
    add_flags,
    check_values,
    flag,
    refuse_idle,
)

_CLUSTER = When(lambda c: c.cluster is not None, "--cluster")
_SLURM = When(lambda c: c.cluster == "slurm", "--cluster slurm")
GRID, WHERE = "the experiment", "where it runs"


def _by_scale(field: str) -> str:
    return ", ".join(f"{name} {getattr(scale, field)}" for name, scale in SCALES.items())


def _count(default: int | None, group: str, help: str, metavar: str = "N") -> Any:
    return flag(default, group, help, limit=AT_LEAST_ONE, metavar=metavar)


@dataclass(frozen=True)
class GridConfig:
    """The part of an experiment that is run, and the place where it runs."""

    scale: str = flag(
        "smoke",
        GRID,
        f"smoke: {SCALES['smoke'].limit} rows of each file, minutes; small: at most "
        f"{SCALES['small'].limit:,}, hours; full: all rows, the published epochs",
        choices=tuple(SCALES),
    )
    seeds: int | None = _count(None, GRID, f"runs of every row; default: {_by_scale('seeds')}")
    epochs: int | None = _count(
        None,
        GRID,
        f"epochs of every run, with --stdpp twice as many; default: {_by_scale('epochs')}",
    )
    rows: tuple[str, ...] = flag(
        (),
        GRID,
        "run only the rows of these names, without the dashes at the front of a name; default: all",
        metavar="NAME",
        several=True,
    )
    out: str = flag(
        "runs/experiments",
        WHERE,
        "folder of the runs and tables. The same command goes on where it was; several machines "
        "that share the folder share the work",
        metavar="FOLDER",
    )
    workers: int = _count(
        1, WHERE, "runs at a time on this machine, which share its cores (seconds are then longer)"
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
        acts=[_CLUSTER],
    )
    partition: str | None = flag(
        None,
        WHERE,
        "Slurm's partition",
        metavar="NAME",
        acts=[_SLURM],
    )
    cpus: int | None = flag(
        None,
        WHERE,
        "CPU cores of a job, which its ranks share; default: as many as Slurm gives, often one",
        limit=AT_LEAST_ONE,
        metavar="N",
        acts=[_SLURM],
    )
    gpus: int = flag(
        0,
        WHERE,
        "GPUs of a job; for more than one add --ranks N, as many, after --",
        limit=NOT_NEGATIVE,
        metavar="N",
        acts=[_CLUSTER],
    )

    def __post_init__(self) -> None:
        check_values(self)

    @property
    def how_much(self) -> Scale:
        """The scale, with the epochs and seeds that were given in place of its own."""
        scale = SCALES[self.scale]
        epochs, seeds = self.epochs or scale.epochs, self.seeds or scale.seeds
        return dataclasses.replace(scale, epochs=epochs, seeds=seeds)

    @property
    def demands(self) -> Demands:
        """What a job asks of the cluster."""
        return Demands(self.minutes, self.partition, self.cpus, self.gpus)

    def runner(self, cells: Sequence[Cell], ended: Callable[[], object] = lambda: None) -> Runner:
        """What brings the cells to their results, here or as jobs of a cluster.

        `ended` is called whenever a process has ended. Raises InputError where `out` cannot be
        written, where there is no such cluster, or where GPUs would be idle.
        """
        out, launch = Path(self.out), None
        self.demands.check(cells)
        if self.cluster is not None:
            launch = cluster_launch(self.cluster, out / "submitit", self.demands)
        return Runner(cells, out, self.workers, launch, ended)

    @staticmethod
    def add_short_flags(group: Any) -> None:
        """Add other spellings of a field's values to argparse's `group`; here there are none."""


def add_modes(group: Any, modes: Iterable[str]) -> None:
    """Add `--MODE`, short for `--settings MODE`, to argparse's `group`."""
    for mode in modes:
        group.add_argument(
            f"--{mode}",
            dest="settings",
            action="store_const",
            const=mode,
            help=f"the same as --settings {mode}",
        )


SomeGridConfig = TypeVar("SomeGridConfig", bound=GridConfig)


def parse(
    name: str, description: str, argv: Sequence[str], kind: type[SomeGridConfig]
) -> tuple[SomeGridConfig, list[str]]:
    """The command's own flags, checked, and those after --, which are the main job's."""
    words = list(argv)
    at = words.index("--") if "--" in words else len(words)
    given = vars(make_parser(name, description, kind).parse_args(words[:at]))
    config = kind(**given)
    refuse_idle(config, given)
    return config, words[at + 1 :]


def make_parser(name: str, description: str, kind: type[GridConfig]) -> OneLineParser:
    """A parser with one flag for each field of `kind`; it stores only the flags that were typed."""
    parser = OneLineParser(
        prog=f"python -m minbert.experiments {name}",
        usage="%(prog)s [flags] [-- flags of multitask_classifier.py for every row]",
        description=description,
    )
    kind.add_short_flags(add_flags(parser, kind)[GRID])
    return parser
