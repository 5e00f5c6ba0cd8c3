"""Lessons: what an encoder learns from, each with its rows, objective and scores, side by side.

A step takes a batch of every lesson, and its gradient is the sum of theirs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from torch import Tensor

from minbert.pretrain.model import PretrainingBert
from minbert.pretrain.order import Sharded
from minbert.training.plan import (
    ByPasses,
    Differentiable,
    Differentiate,
    DivisibleBatch,
    Evaluation,
    RowIndices,
    StepRows,
    TaskOrder,
)


@dataclass(frozen=True)
class Lesson:
    """One objective, and the rows of text that it trains on."""

    name: str  # of its batches, in the log
    text: Sharded
    title: str  # of the text among the hashes of what the run reads
    held_out: int  # rows kept from training
    rows: str  # what its rows are, in the log
    batch_size: int
    order: Callable[[int], TaskOrder]  # of an epoch's number of steps
    draw: Callable[[RowIndices], DivisibleBatch]
    objective: Differentiable[PretrainingBert, Any]
    evaluate: Callable[[PretrainingBert], Evaluation]


class SideBySide(ByPasses[PretrainingBert, DivisibleBatch]):
    """The order, the objective and the scores of several lessons."""

    def __init__(self, lessons: Sequence[Lesson], steps_per_epoch: int) -> None:
        self._lessons = {lesson.name: lesson for lesson in lessons}
        self._orders = [lesson.order(steps_per_epoch) for lesson in lessons]

    def start(self, epoch: int) -> int:
        """The step with which `epoch` begins."""
        return self._orders[0].start(epoch)

    def epoch(self, number: int) -> Iterator[StepRows]:
        """The steps of epoch `number`, each with a batch of every lesson."""
        steps = zip(*(order.epoch(number) for order in self._orders), strict=True)
        return (tuple(chain.from_iterable(batches)) for batches in steps)

    def draw(self, name: str, rows: RowIndices) -> DivisibleBatch:
        """A lesson's rows as a batch."""
        return self._lessons[name].draw(rows)

    def passes(
        self,
        model: PretrainingBert,
        batch: DivisibleBatch,
        seed: int,
        step: int | None,
        differentiate: Differentiate,
    ) -> dict[str, Tensor]:
        """Hand over a batch's losses by its own lesson's objective."""
        own = self._lessons[batch.name].objective
        return own.passes(model, batch, seed, step, differentiate)

    def evaluate(self, model: PretrainingBert) -> Evaluation:
        """All lessons' scores; the criterion is the sum of theirs."""
        parts = [lesson.evaluate(model) for lesson in self._lessons.values()]
        scores: dict[str, float] = {k: v for part in parts for k, v in part.scores.items()}
        return Evaluation(scores, sum(part.criterion for part in parts), {})

    def after_step(self, model: PretrainingBert) -> None:
        """Do nothing."""

    def state_dict(self) -> dict[str, Tensor]:
        """The state, which is empty."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Do nothing."""
