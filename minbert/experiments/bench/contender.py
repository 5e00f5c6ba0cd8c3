"""Contenders: stacks that do the same work on the same rows, each in its own way."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from minbert.data.examples import Split
from minbert.encoder.bert import BertModel
from minbert.finetune.config import RunConfig
from minbert.model import MultitaskBert

WORKS: Mapping[str, str] = {
    "step": "training step",
    "smart": "SMART + Bregman step",
    "r3f": "R3F step",
    "epoch": "epoch with tokenisation",
    "frozen": "frozen-encoder epoch after the first",
    "inference": "inference",
    "int8": "inference, here with --int8",
    "adamw": "AdamW update",
}
METHODS: Mapping[str, str] = {"step": "plain", "smart": "smart", "r3f": "r3f", "epoch": "plain"}
IN_STEPS = ("step", "smart", "r3f")  # timed in stretches, told by the step

LR = 1e-5
SMART_WEIGHT, RADIUS, START, ASCENT, MEMORY = 5.0, 1e-5, 1e-5, 1e-3, 0.995  # λ, ε, σ, η, β
R3F_WEIGHT, NOISE = 1.0, 1e-5  # λ, σ


@dataclass(frozen=True)
class Material:
    """The encoder, the model whose weights are copied, and the rows that all contenders work on.

    `folder` holds the encoder in the published layout. `job` is resolved, its precision decided.
    A stretch of steps has `steps` batches, an epoch `rows` rows.
    """

    folder: Path
    encoder: BertModel
    model: MultitaskBert
    job: RunConfig
    split: Split
    steps: int
    rows: int
    device: torch.device

    @property
    def task(self) -> str:
        """The name of the rows' task."""
        return self.split.task.name

    def rows_of(self, work: str, batch_size: int) -> int:
        """The number of rows, from the first on, that a work takes."""
        wanted = self.steps * batch_size if work in IN_STEPS else self.rows
        return min(wanted, len(self.split.examples))

    def steps_of(self, work: str, batch_size: int) -> int:
        """The number that a work's time is divided by: a stretch's steps, 1 for anything else."""
        return -(-self.rows_of(work, batch_size) // batch_size) if work in IN_STEPS else 1


@dataclass
class TokenCount:
    """The number of tokens that went through an encoder, without padding and with it."""

    real: int = 0
    padded: int = 0

    def add(self, real: int, padded: int) -> None:
        """Count a batch."""
        self.real += real
        self.padded += padded

    @property
    def padded_per_real(self) -> float | None:
        """Tokens with padding for each real one; None where none was counted."""
        return self.padded / self.real if self.real else None


class Contender(Protocol):
    """A stack to train with, used in one way."""

    name: str
    works: Sequence[str]  # that it does

    def loss(self, count: int) -> float:
        """The task's loss of the first `count` rows as one batch, without dropout, in fp32."""
        ...

    def prepared(self, work: str, batch_size: int) -> Callable[[int], TokenCount]:
        """The work as a function, to call with 0, 1, 2, ... for the first time, the second, ..."""
        ...


def update_alone(
    params: Iterable[nn.Parameter], optimizer: torch.optim.Optimizer
) -> Callable[[int], TokenCount]:
    """The work of an optimizer's update alone, from gradients of some size."""
    for param in params:
        param.grad = torch.full_like(param, 1e-3)

    def work(_number: int) -> TokenCount:
        optimizer.step()
        return TokenCount()

    return work
