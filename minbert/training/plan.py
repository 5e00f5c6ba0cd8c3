"""The records and protocols that the training loop works on: what trains, on what, how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from minbert.tasks.task import Array
from minbert.training.optimizer import AdamW

RowIndices = NDArray[np.int64]
StepRows = tuple[tuple[str, RowIndices], ...]  # the batches of one step, each a task and its rows


class StepBatch(Protocol):
    """A batch as loop and log see it, for example `minbert.data.batches.Batch`."""

    @property
    def name(self) -> str:
        """The name of the batch's task."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Names by which its examples can be found again."""

    @property
    def real_tokens(self) -> int:
        """Tokens that go through the encoder, without padding."""

    @property
    def padded_tokens(self) -> int:
        """Tokens that go through the encoder, with padding."""


class DivisibleBatch(StepBatch, Protocol):
    """A batch that can be shared out. `minbert.data.batches.Batch` is one."""

    def part(self: D, rows: slice, seed: int) -> tuple[D, float, int]:
        """Some of the examples, the weight of their loss in the whole's, and their seed.

        `seed` is the whole batch's.
        """
        ...


D = TypeVar("D", bound=DivisibleBatch)
M = TypeVar("M", bound=nn.Module)
B = TypeVar("B", bound=StepBatch)
M_contra = TypeVar("M_contra", bound=nn.Module, contravariant=True)
B_contra = TypeVar("B_contra", bound=StepBatch, contravariant=True)


class StepAgain(Exception):
    """A step must begin again from its start; what it has added to the gradients does not count."""


Differentiate = Callable[[Tensor, bool], None]  # of a loss, and whether it is the batch's last


@dataclass(frozen=True)
class Alone:
    """How a process that trains alone differentiates a loss: at once, `share` times the loss."""

    share: float = 1.0

    def __call__(self, loss: Tensor, _last: bool) -> None:
        """Add the gradients."""
        (loss if self.share == 1 else self.share * loss).backward()


class TrainingObjective(Protocol[M_contra, B_contra]):
    """The quantity that a step minimises, by one process or by several ranks."""

    def backward(
        self,
        model: M_contra,
        batch: B_contra,
        seed: int,
        step: int | None = None,
        *,
        more: bool = False,
    ) -> dict[str, Tensor]:
        """Add a batch's gradients; return detached scalars for the log, `loss` among them.

        `seed` decides every random draw; a term that changes in the course of a run reads `step`;
        `more` says that other batches of the same step follow. May raise StepAgain.
        """
        ...

    def after_step(self, model: M_contra) -> None:
        """Do what follows every optimizer step."""

    def state_dict(self) -> dict[str, Tensor]:
        """The state that a resumed run needs back."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the state."""


class Differentiable(Protocol[M_contra, B_contra]):
    """What is minimised, by its losses; a class that has `passes` inherits the rest."""

    def passes(
        self,
        model: M_contra,
        batch: B_contra,
        seed: int,
        step: int | None,
        differentiate: Differentiate,
    ) -> dict[str, Tensor]:
        """Hand over each loss as it comes; their gradients add up to the batch's.

        The other arguments and the result are those of `TrainingObjective.backward`.
        """
        ...

    def recordable(self, _batch: B_contra, _step: int | None) -> bool:
        """Whether this step's passes are those of any batch of this shape (`cuda_graphs.py`).

        They are the same operations, by numbers that stand in the batch, the model and what
        `after_step` moves in place; random draws are by seeds derived from the step's.
        """
        return False

    def backward(
        self,
        model: M_contra,
        batch: B_contra,
        seed: int,
        step: int | None = None,
        *,
        more: bool = False,  # noqa: ARG002  nothing is exchanged
    ) -> dict[str, Tensor]:
        """Add a batch's gradients; return detached scalars for the log, `loss` among them."""
        return self.passes(model, batch, seed, step, Alone())


class ByPasses(Differentiable[M_contra, B_contra], TrainingObjective[M_contra, B_contra], Protocol):
    """An objective that is given by its losses; `regularizers/objective.py` has one."""


class TaskOrder(Protocol):
    """The order of training: the task and the rows of every batch, step by step."""

    def start(self, epoch: int) -> int:
        """The step with which `epoch`, counted from 0, begins."""

    def epoch(self, number: int) -> Iterator[StepRows]:
        """The steps of epoch `number`."""


@dataclass(frozen=True)
class Evaluation:
    """Dev scores, the number that the best epoch is chosen by, and the predictions scored."""

    scores: Mapping[str, float]
    criterion: float
    predictions: Mapping[str, Array]


@dataclass(frozen=True)
class Plan(Generic[M, B]):
    """The course of a run: its batches, learning rates, length and scoring."""

    order: TaskOrder
    draw: Callable[[str, RowIndices], B]
    learning_rate: Callable[[int], float]  # of a step
    evaluate: Callable[[M], Evaluation]
    total_steps: int
    seed: int
    clip: float | None = None
    checkpoint_every: int = 500
    fresh_at: int = 0  # the step at which the optimizer starts anew
    criterion: str = "overall of what trains"  # its name in the log
    last_only: bool = False  # dev is scored after the last epoch alone

    @property
    def epochs(self) -> int:
        """The number of epochs that begin before the last step."""
        return next(n for n in count() if self.order.start(n) >= self.total_steps)

    def bounds(self, epoch: int) -> tuple[int, int]:
        """The first step of an epoch, and the step after its last."""
        return self.order.start(epoch), min(self.order.start(epoch + 1), self.total_steps)


@dataclass(frozen=True)
class Trainee(Generic[M, B]):
    """A model, and all that decides how it trains."""

    model: M
    objective: TrainingObjective[M, B]
    optimizer: AdamW
    plan: Plan[M, B]
