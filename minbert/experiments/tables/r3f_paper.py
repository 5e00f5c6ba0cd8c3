"""The flags of `glue` and `xnli`, and the runs that they ask for.

The settings are those of the R3F paper (Aghajanyan et al. 2021, Tables 5, 6 and 9).
"""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from minbert.experiments.grid.cells import configuration, quietly
from minbert.experiments.grid.config import GRID, GridConfig, add_modes
from minbert.experiments.grid.experiment import flags_in
from minbert.experiments.r3f_settings import Published
from minbert.experiments.tables.seeds import METHODS, STANDARD, STDPP
from minbert.finetune.rows import read_rows
from minbert.support.errors import InputError
from minbert.support.flags import AT_LEAST_ONE, CountPerTask, flag
from minbert.tasks.registry import TASKS

MATCHED, AS_PUBLISHED = "matched", "as-published"
COMMON = "--recipe r3f --hidden_dropout_prob 0.1"  # Table 6, and Table 9 for XNLI


@dataclass(frozen=True)
class PaperConfig(GridConfig):
    """The settings of the rows, and how much of the table is run."""

    settings: str = flag(
        MATCHED,
        GRID,
        "matched: batches of 16, the scale's epochs, the encoder's rate; as-published: the paper's "
        "batch size and rate for each task and, with --scale full, its number of updates",
        choices=(MATCHED, AS_PUBLISHED),
    )
    updates: CountPerTask | None = flag(
        None,
        GRID,
        "optimizer updates of a run, in place of epochs or of the published number; for some tasks "
        "TASK=N,TASK=N. STD++ has twice as many",
        limit=AT_LEAST_ONE,
        metavar="N",
    )
    rates: tuple[str, ...] = flag(
        (),
        GRID,
        "learning rates to choose among: standard is trained with each, on a seed of its own, and "
        "the best on dev for a task is that of all rows",
        metavar="RATE",
        several=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for rate in self.rates:
            if not _is_rate(rate):
                raise InputError(f"--rates {rate}: must be a number above 0")
        if len(set(map(float, self.rates))) < len(self.rates):
            raise InputError(f"--rates {' '.join(self.rates)}: a rate is named twice")

    @staticmethod
    def add_short_flags(group: Any) -> None:
        """Add `--matched` and `--as-published`."""
        add_modes(group, (MATCHED, AS_PUBLISHED))

    def updates_of(self, task: str, published: Published) -> int | None:
        """The updates of a run of the task; None where the epochs decide."""
        given = self.updates
        if isinstance(given, dict):
            given = given.get(task)
        whole = self.settings == AS_PUBLISHED and self.scale == "full" and self.epochs is None
        return given or (published.updates if whole else None)


def _is_rate(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


@dataclass(frozen=True)
class Job:
    """A task of the table as the main job is asked for it: `flags` name it and its files."""

    task: str
    flags: str
    published: Published

    def command(
        self, config: PaperConfig, extra: Sequence[str], rate: str, method: str = STANDARD
    ) -> str:
        """The flags of a run, with the learning rate `rate`, or "" for what is set without it."""
        settings = f"--option finetune {self.flags} {COMMON}"
        if config.settings == AS_PUBLISHED:
            settings += f" --batch_size {self.published.batch_size}"
            rate = rate or f"{self.published.lr:g}"
        elif "--batch_size" not in flags_in(extra):
            settings += " --batch_size 16"
        length = self._length(config, extra, settings, method)  # whatever the rate
        settings += f" --lr {rate}" if rate else ""
        words = "" if method == STDPP else METHODS[method][0]
        return f"{settings} {length} {words}".strip()

    def _length(self, config: PaperConfig, extra: Sequence[str], settings: str, method: str) -> str:
        twice = 2 if method == STDPP else 1
        updates = config.updates_of(self.task, self.published)
        if updates is None:
            return f"--epochs {twice * config.how_much.epochs}"
        steps, epoch = twice * updates, _epoch(settings, config.how_much.limit, tuple(extra))
        return f"--epochs {math.ceil(steps / epoch)} --max_steps {steps}"


@cache
def _epoch(settings: str, limit: int | None, extra: Sequence[str]) -> int:
    """The whole batches of an epoch, at least one."""
    limited = f" --limit {limit}" if limit else ""
    with quietly():
        run = configuration(f"{settings}{limited} {shlex.join(extra)}")
    assert run.batch_size is not None, "nothing is unset in a cell's configuration"
    (task,) = run.trained_tasks
    rows = read_rows(vars(run), TASKS[task], "train", Path(run.file(task, "train")))
    return max(1, len(rows.examples) // run.batch_size)
