"""Equal compute: how many steps of each arm the budget pays for, by the ledger's forward units."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.experiments.equal.arms import Arm
from minbert.experiments.equal.config import BATCH_SIZE
from minbert.experiments.grid.cells import configuration, quietly
from minbert.experiments.measuring import ledger
from minbert.experiments.measuring.batch import random_batch
from minbert.finetune.build import build_model
from minbert.finetune.config import ResolvedConfig
from minbert.regularizers.registry import build_objective
from minbert.tasks.registry import TASKS

TASK_NAMES = ("sst", "sts")  # an epoch's rounds take a batch of each
_TOKENS = 32  # of the counted texts; units hardly depend on it


@dataclass(frozen=True)
class Spending:
    """What a run of an arm spends: optimizer steps, and forward units a step.

    `epoch_steps` are the steps of an epoch of the draw: a unit-epoch is one unit of each.
    """

    steps: int
    units_a_step: float
    epoch_steps: int

    @classmethod
    def of(cls, units_a_step: float, budget: float, rows: int) -> "Spending":
        """Whole rounds, at least one, as many as the budget pays for."""
        turns = len(TASK_NAMES)
        epoch_steps = turns * (rows // BATCH_SIZE)
        rounds = int(budget * epoch_steps / units_a_step / turns)
        return cls(turns * max(1, rounds), units_a_step, epoch_steps)

    @property
    def epochs(self) -> int:
        """The epochs that hold these steps; the last may be cut short."""
        return math.ceil(self.steps / self.epoch_steps)

    @property
    def unit_epochs(self) -> float:
        """What is spent, in the unit of the budget."""
        return self.steps * self.units_a_step / self.epoch_steps


def spendings(arms: Sequence[Arm], shared: str, budget: float, rows: int) -> Mapping[str, Spending]:
    """Each arm's steps by its name; `shared` are the flags of all arms."""
    return {
        arm.name: Spending.of(units_a_step(f"{shared} {arm.flags}"), budget, rows) for arm in arms
    }


def units_a_step(command: str) -> float:
    """The mean over the tasks of a step's forward units, counted on shapes without data."""
    with quietly():
        config = configuration(command)
    counts = [_count(config, task) for task in TASK_NAMES]
    return sum(counts) / len(counts)


def _count(config: ResolvedConfig, task: str) -> float:
    config = replace(config, precision="fp32")  # whose passes are the method's alone
    cpu = torch.device("cpu")
    shape = EncoderConfig.from_file(Path(str(config.weights)) / "config.json")
    length, views = min(_TOKENS, shape.longest), len(TASKS[task].text_columns)
    with ledger.shapes_only():
        batch = random_batch(
            task, BATCH_SIZE, length, views=views, vocab_size=shape.vocab_size, device=cpu
        )
        model = build_model(config, BertModel(shape, "reference"), cpu)
        return ledger.count(model, build_objective(config, model, steps=1), batch).units
