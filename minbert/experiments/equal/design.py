"""The two stages of the experiment as grids: tuning on some draws, comparison on fresh ones."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minbert.experiments.equal.arms import Arm, Tuned
from minbert.experiments.equal.budget import TASK_NAMES, Spending, spendings
from minbert.experiments.equal.config import BATCH_SIZE, EqualConfig
from minbert.experiments.equal.measured import Measured
from minbert.experiments.grid.cells import Cell, plan
from minbert.experiments.grid.experiment import BASE_SEED, Experiment, GridRow, Scale
from minbert.tasks.registry import overall

_SEEDED = "--seed {seed} --limit_train_seed {seed}"  # a draw is rows, order and heads
_FIRST_TUNING = BASE_SEED + 1000  # far from the draws of the comparison, however many there are
_COMMON = (
    f"--option finetune --tasks {','.join(TASK_NAMES)} --rrobin --batch_size {BATCH_SIZE} "
    "--schedule linear --warmup 0.1 --clip 1 --keep last --dev_only"
)


@dataclass(frozen=True)
class Design:
    """The arms with what they spend, and the flags of all runs; it plans the cells of each stage.

    `extra` are flags of the main job for all runs, such as the encoder.
    """

    config: EqualConfig
    extra: Sequence[str]
    spent: Mapping[str, Spending]

    @classmethod
    def of(cls, config: EqualConfig, extra: Sequence[str]) -> "Design":
        """Count each arm's units. Raises InputError where the flags in `extra` are wrong."""
        sizes = config.sizes
        shared = f"{_COMMON} --limit_train {sizes.rows} {shlex.join(extra)}"
        return cls(config, extra, spendings(config.arms, shared, sizes.budget, sizes.rows))

    def tuning(self) -> tuple[Mapping[str, Tuned], list[Cell]]:
        """Every configuration by its name, and its runs, which are scored on the dev files."""
        every = {
            tuned.name: tuned
            for arm in self.config.arms
            for tuned in arm.configurations(self.config.sizes.rates)
        }
        rows = [self._row(name, tuned, "") for name, tuned in every.items()]
        return every, self._planned("tuning", rows, _FIRST_TUNING, self.config.sizes.tuning_draws)

    def comparison(self, chosen: Mapping[str, Tuned]) -> list[Cell]:
        """The runs of the chosen configurations, scored on the train rows that a draw leaves."""
        rows = [self._row(name, tuned, "--dev_rows rest") for name, tuned in chosen.items()]
        return self._planned("equal", rows, BASE_SEED, self.config.sizes.draws)

    def _row(self, name: str, tuned: Tuned, scored_on: str) -> GridRow:
        spent = self.spent[tuned.arm.name]
        length = f"--epochs {spent.epochs} --max_steps {spent.steps}"
        rows = f"--limit_train {self.config.sizes.rows}"
        words = (_COMMON, rows, scored_on, length, tuned.flags)
        return GridRow(name, (" ".join(filter(None, words)),))

    def _planned(self, name: str, rows: Sequence[GridRow], first: int, draws: int) -> list[Cell]:
        grid = Experiment(name, name, TASK_NAMES, tuple(rows), seeded=_SEEDED, first_seed=first)
        return plan(grid, Scale(epochs=1, limit=None, seeds=draws), draws, self.extra)


def points(
    every: Mapping[str, Tuned], cells: Sequence[Cell], results: Mapping[str, Measured]
) -> dict[str, float]:
    """Each configuration's mean dev points of both tasks over the tuning draws."""
    of_cells = {name: [cell for cell in cells if cell.row == name] for name in every}
    return {
        name: float(np.mean([overall(results[cell.key].scores) for cell in own]))
        for name, own in of_cells.items()
    }


def choose(
    arms: Sequence[Arm], every: Mapping[str, Tuned], reached: Mapping[str, float]
) -> dict[str, Tuned]:
    """Each arm's configuration with the most points, the first of equals, by the arm's name."""
    return {
        arm.name: every[max((n for n in every if every[n].arm == arm), key=reached.__getitem__)]
        for arm in arms
    }
