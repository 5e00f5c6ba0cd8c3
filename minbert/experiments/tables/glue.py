"""Table 2 of the R3F paper, `python -m minbert.experiments glue`: GLUE's tasks, each alone.

The figures are those of Aghajanyan et al. 2021 for RoBERTa-large on the dev sets.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from minbert.experiments.grid.columns import Column
from minbert.experiments.grid.config import GRID
from minbert.experiments.grid.experiment import Experiment
from minbert.experiments.r3f_settings import TABLE_5, published
from minbert.experiments.tables import r3f_table
from minbert.experiments.tables.command import grid_command
from minbert.experiments.tables.r3f_paper import Job, PaperConfig
from minbert.experiments.tables.seeds import STANDARD, STDPP
from minbert.support.errors import InputError
from minbert.support.flags import When, flag
from minbert.tasks.glue import GLUE
from minbert.tasks.registry import TASKS, learn

_DESCRIPTION = """\
Train each of GLUE's tasks alone with every method, and print the R3F paper's Table 2 with its
figures beside ours, and which differences are more than noise. docs/glue.md has the details. Flags
of the main job follow after --. Typical:

  python -m minbert.experiments glue --glue_dir GLUE --as-published --scale full -- --weights NAME
"""
_TASKS = (*TABLE_5, "sts")
_COLUMNS = ("mnli", "mnli@dev_mismatched", "qqp", "qqp:F1", "rte", "qnli", "mrpc", "cola", "sst2")
_MEDIANS = {
    STANDARD: (90.2, None, 91.9, None, 86.6, 92.1, 84.4, 66.2, 96.4),
    STDPP: (90.8, None, 92.1, None, 87.4, 92.5, 89.1, 68.4, 96.9),
    "SMART": (90.85, 91.10, 91.7, 88.2, 89.5, 94.8, 83.9, 69.4, 96.6),
    "R3F": (91.10, 91.10, 92.1, 88.4, 88.4, 95.1, 91.2, 70.6, 96.2),
    "R4F": (90.0, 90.6, 91.8, 88.2, 88.3, 94.8, 90.1, 70.1, 96.8),
}
_BEST = {
    STANDARD: (90.2, None, 92.2, None, 86.6, 94.7, 89.1, 68.0, 96.4),
    STDPP: (91.0, None, 92.2, None, 87.4, 94.8, 91.1, 69.4, 96.9),
    "FreeLB": (90.6, None, 92.6, None, 88.1, 95.0, None, 71.1, 96.7),
    "SMART": (91.1, 91.3, 92.4, 89.8, 92.0, 95.6, 89.2, 70.6, 96.9),
    "R3F": (91.1, 91.3, 92.4, 89.9, 88.5, 95.3, 91.6, 71.2, 97.0),
    "R4F": (90.1, 90.8, 92.5, 89.9, 88.8, 95.1, 90.9, 70.6, 97.1),
}
_FIRST = tuple(name for name in _COLUMNS if name in GLUE)  # the tasks of the paper's table


@dataclass(frozen=True)
class GlueConfig(PaperConfig):
    """The tasks of the table, and how much of it is run."""

    glue_dir: str | None = flag(
        None, GRID, "folder of GLUE's public files (docs/glue.md)", metavar="FOLDER"
    )
    data_dir: str | None = flag(
        None,
        GRID,
        "folder of the course's files, for the task sts",
        metavar="FOLDER",
        acts=[When(lambda config: "sts" in config.tasks, "sts among --tasks")],
    )
    tasks: tuple[str, ...] = flag(
        (),
        GRID,
        f"tasks, each trained alone: {', '.join(_TASKS)}; sts has the course's files; default: "
        "those of the paper's table that the folder has",
        metavar="TASK",
        several=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.tasks:
            if name not in _TASKS:
                known = ", ".join(_TASKS)
                raise InputError(f"--tasks {name}: not one of {known}, parted by blanks")
        if len(set(self.tasks)) < len(self.tasks):
            raise InputError(f"--tasks {' '.join(self.tasks)}: a task is named twice")
        if self.glue_dir is None and not self.tasks:
            raise InputError("give --glue_dir, the folder of GLUE's public files")
        if self.glue_dir is not None and not Path(self.glue_dir).is_dir():
            raise InputError(f"--glue_dir {self.glue_dir}: no such folder")

    @property
    def trained(self) -> tuple[str, ...]:
        """The tasks that are named, or those of the paper's table of which there are files."""
        if self.tasks:
            return self.tasks
        folder = Path(str(self.glue_dir))
        there = [n for n in _FIRST if Path(GLUE[n].definition(n, folder).files["train"]).is_file()]
        if not there:
            raise InputError(f"--glue_dir {folder}: has none of {', '.join(_FIRST)}")
        return tuple(there)


def experiment(config: GlueConfig, extra: Sequence[str]) -> Experiment:
    """The table. Raises InputError where the tasks' files are not there."""
    jobs = [Job(name, _flags(name, config), published(name)) for name in config.trained]
    names = tuple(job.task for job in jobs)
    beside = tuple(further for name in names for further in _further(name))
    title = f"GLUE, {config.settings}"
    shown = (*names, *beside)
    notes = (
        "the paper's figures are medians of ten runs of RoBERTa-large on dev; the best of its ten, "
        f"or of others where it quotes them: {_best(shown)}",
    )
    about: dict[str, Any] = {"source": r3f_table.SOURCE, "beside": beside, "notes": notes}
    what = Experiment(f"glue-{config.settings}", title, names, (), **about)
    return r3f_table.experiment(what, config, extra, jobs, _by_row(_MEDIANS, shown))


def _flags(name: str, config: GlueConfig) -> str:
    """The flags that name a task. Test files are read only where a further dev file is."""
    words = ["--tasks", name]
    if name in GLUE:
        if config.glue_dir is None:
            raise InputError(f"--tasks {name}: give --glue_dir, the folder of its files")
        words += ["--glue_dir", config.glue_dir]
        learn([GLUE[name].definition(name, Path(config.glue_dir)).as_json()])
    elif config.data_dir is not None:
        words += ["--data_dir", config.data_dir]
    words += ["--cross_encoder"] if TASKS[name].is_pair else []
    further = [split for split in TASKS[name].files if split.startswith("dev_")]
    return shlex.join(words if further else [*words, "--dev_only"])


def _further(name: str) -> list[str]:
    """The scores beside the one that decides: other metrics, other dev files."""
    task = TASKS[name]
    others = [f"{name}:{metric.name}" for metric in task.metrics[1:]]
    return [*others, *(f"{name}@{split}" for split in task.files if split.startswith("dev_"))]


def _by_row(
    figures: Mapping[str, Sequence[float | None]], shown: Sequence[str]
) -> dict[str, dict[str, float]]:
    return {
        row: {
            name: round(value / 100, 4)
            for name, value in zip(_COLUMNS, values, strict=True)
            if value is not None and name in shown
        }
        for row, values in figures.items()
    }


def _best(shown: Sequence[str]) -> str:
    rows = _by_row(_BEST, shown).items()
    return "; ".join(
        f"{row} " + ", ".join(f"{Column.read(n).title} {value:.3f}" for n, value in own.items())
        for row, own in rows
        if own
    )


main = partial(grid_command, "glue", _DESCRIPTION, GlueConfig, experiment)
